"""`python -m workers.children.checking ORDER.json`: how well a fresh index answers, against exact search.

Result: {"count", "recall", "queries", "rows_found", "rows_sampled", "search_ms", "known"}. Writes known_queries.npy
[c, d] and known_rows.npy [c, 10]: what this very index answered, so that every replica can be asked the same.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundles import layout
from engines import registry
from engines.base import Float32, IndexSearcher, IndexSpec, SearchEffort
from engines.exact import ExactScan
from engines.metrics import exact_costs
from failpoints import failpoint
from workers.children.program import Order, RowsDone, run

QUERIES_MAX = 200
SAMPLED_ROWS = 100
CHUNK_QUERIES = 20
KNOWN_QUERIES = 50
KNOWN_TOP_K = 10
SEED = 100


class Measured(NamedTuple):
    recall: float
    # Of the queries that are rows themselves and are among their own nearest, the share that the index found so.
    selves: int
    selves_found: int
    search_ms: float


def work(order: Order) -> dict[str, Any]:
    """Raises EngineError."""
    vectors: Float32 = np.load(order["vectors"], mmap_mode="r", allow_pickle=False)[: order["rows"]]
    spec = IndexSpec(**order["spec"])
    searcher = registry.open_searcher(order["engine"], spec, Path(order["index_dir"]), vectors)
    bench = _Bench(searcher, vectors, spec, SearchEffort(**order["effort"]), min(order["at"], len(vectors)))
    random = np.random.default_rng(SEED)
    queries = _sample(np.load(order["queries"], allow_pickle=False), QUERIES_MAX, random)
    rows = np.sort(random.choice(len(vectors), min(SAMPLED_ROWS, len(vectors)), replace=False))
    total = len(queries) + len(rows)
    measured = bench.measure(queries, None, done=0, total=total)
    itself = bench.measure(np.array(vectors[rows]), rows, done=len(queries), total=total)
    known = _write_known(bench, queries[:KNOWN_QUERIES], Path(order["out_dir"]))
    failpoint("check_child.before_answer")
    return {
        "count": searcher.count,
        "recall": measured.recall,
        "queries": len(queries),
        "rows_found": itself.selves_found,
        "rows_sampled": itself.selves,
        "search_ms": measured.search_ms,
        "known": known,
    }


class _Bench:
    """One index beside exact search over the same vectors."""

    def __init__(
        self, searcher: IndexSearcher, vectors: Float32, spec: IndexSpec, effort: SearchEffort, top_k: int
    ) -> None:
        self.searcher, self.effort = searcher, effort
        self._vectors, self._metric, self._top_k = vectors, spec.metric, top_k
        self._exact = ExactScan(vectors, spec.metric)
        self._say = RowsDone()

    def measure(self, queries: Float32, rows: NDArray[np.int64] | None, *, done: int, total: int) -> Measured:
        """`rows` [q]: the row that each query is, when it is one."""
        hits = selves = selves_found = 0
        seconds = 0.0
        for start in range(0, len(queries), CHUNK_QUERIES):
            some = queries[start : start + CHUNK_QUERIES]
            exact, _ = self._exact.search(some, self._top_k)
            began = time.perf_counter()
            found, _ = self.searcher.search(some, self._top_k, self.effort)
            seconds += time.perf_counter() - began
            hits += sum(self._hits(*each) for each in zip(some, exact, found, strict=True))
            if rows is not None:
                own = rows[start : start + CHUNK_QUERIES, np.newaxis]
                near = (exact == own).any(axis=1)
                selves += int(near.sum())
                selves_found += int((near & (found == own).any(axis=1)).sum())
            self._say(done + start + len(some), total)
        queries_count = max(1, len(queries))
        return Measured(hits / (queries_count * self._top_k), selves, selves_found, 1000 * seconds / queries_count)

    def _hits(self, query: Float32, exact: NDArray[np.int64], found: NDArray[np.int64]) -> int:
        """Of the items found, those as near as the farthest true neighbour: of equal ones any will do."""
        farthest = exact_costs(self._vectors[exact[-1:]], query, self._metric)[0]
        items = np.unique(found[found >= 0])
        return int((exact_costs(self._vectors[items], query, self._metric) <= farthest).sum())


def _sample(queries: Float32, most: int, random: np.random.Generator) -> Float32:
    if len(queries) <= most:
        return queries
    return queries[np.sort(random.choice(len(queries), most, replace=False))]


def _write_known(bench: _Bench, queries: Float32, out_dir: Path) -> int:
    rows, _ = bench.searcher.search(queries, KNOWN_TOP_K, bench.effort)
    np.save(out_dir / layout.KNOWN_QUERIES, queries, allow_pickle=False)
    np.save(out_dir / layout.KNOWN_ROWS, rows, allow_pickle=False)
    return len(queries)


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
