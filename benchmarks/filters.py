"""`make bench-filters`: what a filter costs, by the share of items that it selects, on each engine.

For each engine and share: the median of one query (top 100, one thread, as a replica searches), how many times that of
the same engine without a filter it is, and recall@100 among the selected items against exact search. Then what 10,000
excluded items cost that are the nearest ones, and what it costs to work out a filter the first time and afterwards. All
in one run, on clustered data. ARGS="--items 1000000" takes about ten minutes, most of it builds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.data import Float32, clustered
from engines import registry
from engines.base import IndexSpec, SearchEffort
from engines.exact import ExactScan
from engines.rowset import RowSet
from replicas.filters.matcher import Matcher
from replicas.subsets import SubsetSearch

DIMENSION, SEED, TOP_K = 64, 100, 100
METRIC = "ip"
QUERIES = 100
SHARES = (0.5, 0.1, 0.05, 0.01, 0.001)
EXCLUDED = 10_000
RECALL_MIN = 0.98
THREADS = 2
# The least effort that reaches RECALL_MIN without a filter is found among these, as a build would.
EFFORTS = (100, 150, 200, 300, 400, 600, 800)
FILTERS = (
    "year >= 2015",
    "genre contains 'g7'",
    "genre contains_any ['g1', 'g2', 'g3', 'g4'] and year >= 2010",
    "maker == 'maker 77' or maker == 'maker 78'",
    "price < 10.0 and not (genre contains 'g3') and year in [1999, 2003, 2007]",
)


class Figure(NamedTuple):
    us: float
    recall: float


class Engine:
    """One engine over the vectors, at the effort that reaches the recall of the bar."""

    def __init__(self, name: str, params: dict[str, Any], vectors: Float32, queries: Float32, folder: Path) -> None:
        description = registry.describe(name)
        spec = IndexSpec(METRIC, vectors.shape[1], threads=THREADS, params=params)
        folder.mkdir()
        started = time.perf_counter()
        registry.builder(name).build(spec, vectors, folder, lambda _: None)
        self.build_seconds = time.perf_counter() - started
        self.label = " ".join([name, *map(str, params.values())])
        self._searcher = registry.open_searcher(name, spec, folder, vectors)
        self._subsets = SubsetSearch(self._searcher, vectors, METRIC, description)
        self._scan = ExactScan(vectors, METRIC)
        self._queries = queries
        self.effort = self._tuned() if description.effort else SearchEffort()

    def unfiltered(self) -> Figure:
        return self._measured(lambda query: self._searcher.search(query, TOP_K, self.effort)[0], None)

    def among(self, allowed: RowSet) -> Figure:
        return self._measured(lambda query: self._subsets.search(query, TOP_K, self.effort, allowed)[0], allowed)

    def _tuned(self) -> SearchEffort:
        for ef in EFFORTS:
            self.effort = SearchEffort(ef=ef)
            if self.unfiltered().recall >= RECALL_MIN:
                break
        return self.effort

    def _measured(self, search: Callable[[Float32], Any], allowed: RowSet | None) -> Figure:
        truth, _ = self._scan.search(self._queries, TOP_K, allowed)
        search(self._queries[:1])
        spent, hits = [], 0
        for query, true_rows in zip(self._queries, truth, strict=True):
            started = time.perf_counter()
            rows = search(query[None])
            spent.append(time.perf_counter() - started)
            hits += np.intersect1d(rows[rows >= 0], true_rows[true_rows >= 0]).size
        return Figure(statistics.median(spent) * 1e6, hits / int((truth >= 0).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    items = parser.parse_args().items
    vectors, queries = clustered(items, DIMENSION, SEED, QUERIES)
    print(f"{items:,} x {DIMENSION}, top {TOP_K}, one query on one thread; us (times the unfiltered one, recall)\n")
    with tempfile.TemporaryDirectory(prefix="recall-bench-", dir="/tmp") as name:
        for engine_name, params in _engines():
            engine = Engine(engine_name, params, vectors, queries, Path(name) / f"{engine_name}-{len(params)}")
            _report_engine(engine, _sets(items), _nearest_excluded(vectors, queries))
    _report_filters(items)


def _engines() -> Iterable[tuple[str, dict[str, Any]]]:
    """Every engine with its defaults, and once more with each other way to keep vectors that it has."""
    for name in registry.names():
        yield name, {}
        schema = registry.describe(name).params_model.model_json_schema()["properties"]
        for other in schema.get("storage", {}).get("enum", ())[1:]:
            yield name, {"storage": other}


def _sets(items: int) -> dict[float, RowSet]:
    order = np.random.default_rng(SEED).permutation(items)
    masks = {share: np.zeros(items, dtype=np.bool_) for share in SHARES}
    for share, mask in masks.items():
        mask[order[: int(share * items)]] = True
    return {share: RowSet.of_mask(mask) for share, mask in masks.items()}


def _nearest_excluded(vectors: Float32, queries: Float32) -> RowSet:
    """All rows but those nearest to the first query, which other queries share none or few of."""
    nearest = np.argsort(-(vectors @ queries[0]))[:EXCLUDED]
    return RowSet.everything(len(vectors)).without(np.sort(nearest))


def _report_engine(engine: Engine, sets: dict[float, RowSet], excluded: RowSet) -> None:
    base = engine.unfiltered()
    effort = f"ef {engine.effort.ef}" if engine.effort.ef else "exact"
    print(f"{engine.label:<12} {effort}, built in {engine.build_seconds:.1f} s")
    print(f"  {'no filter':<22} {base.us:9,.0f} us   {1:6.2f} x   {base.recall:.4f}")
    for share, allowed in sets.items():
        _print_row(f"{100 * share:g} % ({allowed.count:,})", engine.among(allowed), base)
    _print_row(f"{EXCLUDED:,} excluded", engine.among(excluded), base)
    print()


def _print_row(label: str, found: Figure, base: Figure) -> None:
    low = "" if found.recall >= RECALL_MIN else "  below the bar"
    print(f"  {label:<22} {found.us:9,.0f} us   {found.us / base.us:6.2f} x   {found.recall:.4f}{low}")


def _report_filters(items: int) -> None:
    """What it costs to work a filter out."""
    rng = np.random.default_rng(SEED)
    genres = np.array([f"g{number}" for number in range(20)], dtype=object)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 4, items))])
    columns = {
        "year": pa.array(rng.integers(1980, 2026, items)),
        "price": pa.array(rng.uniform(0, 100, items)),
        "maker": pa.array([f"maker {number}" for number in rng.integers(0, 5_000, items)], pa.large_string()),
        "genre": pa.LargeListArray.from_arrays(
            pa.array(offsets), pa.array(genres[rng.integers(0, 20, offsets[-1])], pa.large_string())
        ),
    }
    types = {"year": "int64", "price": "float64", "maker": "string", "genre": "list<string>"}
    matcher = Matcher(pa.table(columns), types, items)
    print("working a filter out          first        again   selects")
    for text in FILTERS:
        first, again = (_seconds(lambda text=text: matcher.rows(text)) for _ in range(2))
        share = 100 * matcher.rows(text).count / items
        print(f"  {1e3 * first:24.2f} ms {1e6 * again:9.1f} us {share:8.3f} %   {text}")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
