"""The one definition of what the metrics mean.

A *score* is what users see: for `ip` and `cosine` the inner product, larger is better; for `l2` the squared distance,
smaller is better. A *cost* is the score turned so that smaller is always better. Equal scores are ordered by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.base import Float32, Int64
from engines.description import Metric


def larger_is_better(metric: Metric) -> bool:
    return metric != "l2"


def scores_of(costs: Float32, metric: Metric) -> Float32:
    """Scores for costs of any shape."""
    return -costs if larger_is_better(metric) else costs


def exact_costs(vectors: Float32, query: Float32, metric: Metric) -> Float32:
    """Costs [m] of `vectors` [m, d] for `query` [d], computed in float64 and rounded once.

    A row's cost depends on nothing but the row and the query, so that equal vectors have equal costs wherever they lie;
    a matrix product does not promise that.
    """
    rows: NDArray[np.float64] = vectors.astype(np.float64)
    if larger_is_better(metric):
        rows *= query
        costs: NDArray[np.float64] = -rows.sum(axis=1)
        return costs.astype(np.float32)
    rows -= query
    np.square(rows, out=rows)
    costs = rows.sum(axis=1)
    return costs.astype(np.float32)


def blank_answer(queries: int, top_k: int) -> tuple[Int64, Float32]:
    """An answer without hits: rows [queries, top_k] of -1, scores of NaN."""
    return np.full((queries, top_k), -1, dtype=np.int64), np.full((queries, top_k), np.nan, dtype=np.float32)
