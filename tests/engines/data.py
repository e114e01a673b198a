"""Data for the engines' tests, and the answers worked out without any of their code."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import Float32, clustered
from engines import registry
from engines.base import IndexSearcher, IndexSpec, Progress, SearchEffort
from engines.description import Metric

Rows = NDArray[np.int64]

ITEMS = 3_000
DIMENSION = 24
DEFAULT = SearchEffort()


class Built(NamedTuple):
    """An index that was built and opened."""

    name: str
    spec: IndexSpec
    index_dir: Path
    vectors: Float32
    queries: Float32
    searcher: IndexSearcher
    # What its builder told of its progress.
    progress: list[int]


@cache
def items_and_queries(metric: Metric) -> tuple[Float32, Float32]:
    """Clustered vectors; of unequal length, except for cosine, whose callers normalise."""
    vectors, queries = clustered(ITEMS, DIMENSION, seed=7, queries=100)
    if metric == "cosine":
        return vectors, queries
    lengths = np.random.default_rng(8).uniform(0.7, 1.4, (ITEMS, 1)).astype(np.float32)
    return vectors * lengths, queries


def build_and_open(
    name: str, spec: IndexSpec, vectors: Float32, index_dir: Path, progress: Progress = int
) -> IndexSearcher:
    index_dir.mkdir(exist_ok=True)
    registry.builder(name).build(spec, vectors, index_dir, progress)
    return registry.open_searcher(name, spec, index_dir, vectors)


def float64_scores(vectors: Float32, query: Float32, metric: Metric) -> Float32:
    """The score of each vector, by the textbook, rounded to what an answer can hold."""
    wide, q = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.array([((row - q) ** 2).sum() for row in wide], dtype=np.float32)
    return np.array([row @ q for row in wide], dtype=np.float32)


def float64_best(vectors: Float32, query: Float32, metric: Metric, k: int) -> Rows:
    """The k best rows by a plain sort; the lower row first where scores are equal."""
    scores = float64_scores(vectors, query, metric)
    ranked = sorted(range(len(vectors)), key=lambda row: (scores[row] if metric == "l2" else -scores[row], row))
    return np.array(ranked[:k])


def recall(found: Rows, truth: Rows) -> float:
    """The part of the true rows [q, k] that was found."""
    return sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)) / truth.size
