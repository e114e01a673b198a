"""What hnswlib does alone: the figure that the platform's own is divided by.

python -m benchmarks.raw_hnsw --items 100000 --dimension 64 --ef 200 --threads 2 --seconds 5
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import NamedTuple

import hnswlib
import numpy as np

from benchmarks.data import Float32, clustered

TOP_K = 100
M = 16
EF_CONSTRUCTION = 200
SEED = 100


class RawFigure(NamedTuple):
    """What was measured, by inner product at top 100."""

    qps: float
    recall: float
    build_seconds: float
    single_us: float  # Median of one query on one thread.


def raw_qps(vectors: Float32, queries: Float32, ef: int, threads: int, seconds: float) -> RawFigure:
    """Build in one call, then search all `queries` again and again in one call each for `seconds`."""
    index, build_seconds = raw_index(vectors, threads)
    index.set_ef(max(ef, TOP_K))
    labels, _ = index.knn_query(queries, k=TOP_K, num_threads=threads)
    recall = recall_of(labels, true_rows(vectors, queries))
    return RawFigure(_qps(index, queries, threads, seconds), recall, build_seconds, _single_us(index, queries))


def raw_index(vectors: Float32, threads: int) -> tuple[hnswlib.Index, float]:
    """The built index, and the seconds that one `add_items` took."""
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(len(vectors), M, EF_CONSTRUCTION, random_seed=SEED)
    started = time.perf_counter()
    index.add_items(vectors, num_threads=threads)
    return index, time.perf_counter() - started


def open_raw(path: Path, dimension: int, ef: int) -> hnswlib.Index:
    """The very graph that a replica searches, by inner product."""
    raw = hnswlib.Index(space="ip", dim=dimension)
    raw.load_index(str(path))
    raw.set_ef(max(ef, TOP_K))
    return raw


def true_rows(vectors: Float32, queries: Float32) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The exact top 100 rows [q, 100] by inner product, in any order."""
    found = [np.argpartition(vectors @ query, -TOP_K)[-TOP_K:] for query in queries]
    return np.stack(found)


def recall_of(labels: np.ndarray, truth: np.ndarray) -> float:
    """The part of the true rows that was found."""
    hits = sum(len(np.intersect1d(row, true)) for row, true in zip(labels, truth, strict=True))
    return hits / truth.size


def _qps(index: hnswlib.Index, queries: Float32, threads: int, seconds: float) -> float:
    started, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        index.knn_query(queries, k=TOP_K, num_threads=threads)
        done += len(queries)
    return done / spent


def _single_us(index: hnswlib.Index, queries: Float32) -> float:
    spent = []
    for query in queries:
        started = time.perf_counter()
        index.knn_query(query, k=TOP_K, num_threads=1)
        spent.append(time.perf_counter() - started)
    return float(np.median(spent)) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--ef", type=int, default=200)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    vectors, queries = clustered(arguments.items, arguments.dimension, SEED)
    figure = raw_qps(vectors, queries, arguments.ef, arguments.threads, arguments.seconds)
    print(f"items {arguments.items:,} x {arguments.dimension}, ef {arguments.ef}, {arguments.threads} threads")
    print(f"build         {figure.build_seconds:8.1f} s")
    print(f"recall@{TOP_K}    {figure.recall:8.4f}")
    print(f"one query     {figure.single_us:8.0f} us")
    print(f"QPS           {figure.qps:8,.0f}")


if __name__ == "__main__":
    main()
