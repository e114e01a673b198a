"""`python -m workers.children.tuning ORDER.json`: how much effort a fresh index needs, measured against exact search.

Tries the order's efforts, rising, until one reaches the target recall, and some beyond it; without a target the first
one is the one. Result: {"count", "curve", "chosen", "recall", "reached", "complete", "queries", "rows_found",
"rows_sampled", "search_ms", "known", "queries_file", "queries_source", "queries_note", "samples_ignored",
"asked_top_k", "projection"}. Writes what this very index answers with the chosen effort, so that every replica
can be asked the same: known_queries.npy [c, d], known_rows.npy [c, 10] and sampled_rows.npy [s].
Beside them, once all is measured, a projection of the items (`projecting`).
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundles import layout
from engines import registry
from engines.base import Float32, IndexSearcher, IndexSpec, Int64, SearchEffort
from engines.exact import ExactScan
from engines.metrics import exact_costs
from failpoints import failpoint
from workers.children import projecting
from workers.children.live_queries import gather
from workers.children.program import Order, RowsDone, run

QUERIES_MAX = 200
SAMPLED_ROWS = 100
CHUNK_QUERIES = 20
KNOWN_QUERIES = 50
KNOWN_TOP_K = 10
# So many efforts above the chosen one are measured too: what more of it would bring.
POINTS_BEYOND = 2
SEED = 100

Efforts = list[dict[str, Any]]


class Point(NamedTuple):
    """One effort on the curve: its recall, and its milliseconds for a query on one thread."""

    recall: float
    ms: float


def work(order: Order) -> dict[str, Any]:
    """Raises EngineError."""
    vectors: Float32 = np.load(order["vectors"], mmap_mode="r", allow_pickle=False)[: order["rows"]]
    spec = replace(IndexSpec(**order["spec"]), threads=1)
    searcher = registry.open_searcher(order["engine"], spec, Path(order["index_dir"]), vectors)
    random = np.random.default_rng(SEED)
    out_dir = Path(order["out_dir"])
    asked, told = _queries(order, out_dir)
    queries = _sample(asked, QUERIES_MAX, random)
    rows = np.sort(random.choice(len(vectors), min(SAMPLED_ROWS, len(vectors)), replace=False))
    efforts: Efforts = order["efforts"]
    say = _Progress(len(queries) * (1 + len(efforts)) + len(rows))
    bench = _Bench(searcher, vectors, spec, min(order["at"], len(vectors)), say)
    truth = bench.truth(queries)
    curve, chosen = _tune(bench, queries, truth, efforts, order["recall_target"], order["seconds_max"])
    selves = bench.selves(rows)
    if order["recall_target"] is not None:
        chosen = _until_selves_are_found(bench, selves, efforts, chosen, order["rows_found_min"])
        curve += [bench.point(queries, truth, SearchEffort(**each)) for each in efforts[len(curve) : chosen + 1]]
    reached = order["recall_target"] is None or curve[chosen].recall >= order["recall_target"]
    effort = SearchEffort(**efforts[chosen])
    found = bench.find(selves, effort)
    np.save(out_dir / layout.SAMPLED_ROWS, selves[found < KNOWN_TOP_K], allow_pickle=False)
    known = _write_known(bench, queries[:KNOWN_QUERIES], effort, out_dir)
    failpoint("tune_child.before_answer")
    return {
        **told,
        "count": searcher.count,
        "curve": [{**efforts[place], **point._asdict()} for place, point in enumerate(curve)],
        "chosen": chosen,
        "recall": curve[chosen].recall,
        "search_ms": curve[chosen].ms,
        "reached": reached,
        "complete": len(curve) == len(efforts) or reached,
        "queries": len(queries),
        "rows_found": int((found < bench.top_k).sum()),
        "rows_sampled": len(selves),
        "known": known,
        "projection": projecting.write(Path(order["items_dir"]), order["rows"], out_dir),
    }


def _tune(
    bench: _Bench, queries: Float32, truth: Int64, efforts: Efforts, target: float | None, seconds_max: float
) -> tuple[list[Point], int]:
    """The curve as far as it was measured, and the place on it of the smallest effort that reaches `target`.

    When none does, or time is up before, the place of the best recall. At least one point is measured.
    """
    give_up_at = time.monotonic() + seconds_max
    curve: list[Point] = []
    reached: int | None = None
    for place, effort in enumerate(efforts):
        curve.append(bench.point(queries, truth, SearchEffort(**effort)))
        if reached is None and target is not None and curve[-1].recall >= target:
            reached = place
        beyond = reached is not None and place >= reached + POINTS_BEYOND
        if target is None or beyond or time.monotonic() > give_up_at:
            break
    best = max(range(len(curve)), key=lambda place: (curve[place].recall, -place))
    return curve, best if reached is None else reached


def _until_selves_are_found(
    bench: _Bench, selves: NDArray[np.int64], efforts: Efforts, chosen: int, share_min: float
) -> int:
    """The first place from `chosen` on where the guard's share of sampled rows is found; where it never is, `chosen`.

    An index may reach its recall with an effort that loses single rows.
    """
    for place in range(chosen, len(efforts)):
        found = bench.find(selves, SearchEffort(**efforts[place])) < bench.top_k
        if found.sum() >= share_min * len(selves):
            return place
    return chosen


class _Progress:
    """Counts queries, whatever they are asked for."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total
        self._say = RowsDone()

    def __call__(self, more: int) -> None:
        self._done += more
        self._say(self._done, self._total)


class _Bench:
    """One index beside exact search over the same vectors."""

    def __init__(self, searcher: IndexSearcher, vectors: Float32, spec: IndexSpec, top_k: int, say: _Progress) -> None:
        self.searcher, self._say = searcher, say
        self._vectors, self._metric, self.top_k = vectors, spec.metric, top_k
        self._exact = ExactScan(vectors, spec.metric)

    def truth(self, queries: Float32) -> Int64:
        """The true nearest rows [q, top_k]."""
        found = []
        for start in range(0, len(queries), CHUNK_QUERIES):
            some = queries[start : start + CHUNK_QUERIES]
            found.append(self._exact.search(some, self.top_k)[0])
            self._say(len(some))
        return np.concatenate(found)

    def point(self, queries: Float32, truth: Int64, effort: SearchEffort) -> Point:
        """Asked one by one, as callers do."""
        hits, seconds = 0, 0.0
        for place, query in enumerate(queries):
            began = time.perf_counter()
            found, _ = self.searcher.search(query[np.newaxis], self.top_k, effort)
            seconds += time.perf_counter() - began
            hits += self._hits(query, truth[place], found[0])
            self._say(1)
        return Point(hits / (len(queries) * self.top_k), 1000 * seconds / len(queries))

    def selves(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` that are truly among their own nearest."""
        near: NDArray[np.bool_] = self.truth(np.array(self._vectors[rows])) == rows[:, np.newaxis]
        found: NDArray[np.int64] = rows[near.any(axis=1)]
        return found

    def find(self, selves: NDArray[np.int64], effort: SearchEffort) -> NDArray[np.int64]:
        """The place of each row in the answer to itself; top_k where it is not in it."""
        if not len(selves):
            return selves
        found, _ = self.searcher.search(np.array(self._vectors[selves]), self.top_k, effort)
        hit = found == selves[:, np.newaxis]
        found_at: NDArray[np.int64] = np.where(hit.any(axis=1), hit.argmax(axis=1), self.top_k)
        return found_at

    def _hits(self, query: Float32, exact: NDArray[np.int64], found: NDArray[np.int64]) -> int:
        """Of the items found, those as near as the farthest true neighbour: of equal ones any will do."""
        farthest = exact_costs(self._vectors[exact[-1:]], query, self._metric)[0]
        items = np.unique(found[found >= 0])
        return int((exact_costs(self._vectors[items], query, self._metric) <= farthest).sum())


def _queries(order: Order, out_dir: Path) -> tuple[Float32, dict[str, Any]]:
    """The queries to ask with [q, d], and what the result says of them. Live ones become a file of `out_dir`."""
    told = {
        "queries_file": order["queries"],
        "queries_source": order["queries_source"],
        "queries_note": order["queries_note"],
        "samples_ignored": [],
        "asked_top_k": None,
    }
    found = gather(order["live"]) if order["live"] else None
    if found is not None:
        told |= {"queries_note": found.note, "samples_ignored": found.ignored, "asked_top_k": found.top_k}
    if found is None or found.vectors is None:
        queries: Float32 = np.load(order["queries"], allow_pickle=False)
        return queries, told
    path = out_dir / layout.QUERIES
    np.save(path, found.vectors, allow_pickle=False)
    return found.vectors, {**told, "queries_file": str(path), "queries_source": "live"}


def _sample(queries: Float32, most: int, random: np.random.Generator) -> Float32:
    if len(queries) <= most:
        return queries
    return queries[np.sort(random.choice(len(queries), most, replace=False))]


def _write_known(bench: _Bench, queries: Float32, effort: SearchEffort, out_dir: Path) -> int:
    rows, _ = bench.searcher.search(queries, KNOWN_TOP_K, effort)
    np.save(out_dir / layout.KNOWN_QUERIES, queries, allow_pickle=False)
    np.save(out_dir / layout.KNOWN_ROWS, rows, allow_pickle=False)
    return len(queries)


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
