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


def best_first(rows: Int64, costs: Float32, metric: Metric) -> tuple[Int64, Float32]:
    """Rows and scores [q, k] of found `rows` [q, k] with `costs` [q, k]: best first, equal ones by row.

    A row of -1 is none; it comes last, with a score of NaN.
    """
    costs = np.where(rows < 0, np.float32(np.inf), costs)
    order = np.lexsort((rows, costs))
    rows, costs = np.take_along_axis(rows, order, axis=1), np.take_along_axis(costs, order, axis=1)
    return rows, np.where(rows < 0, np.float32(np.nan), scores_of(costs, metric))


def looked_up(vectors: Float32, queries: Float32, rows: Int64, top_k: int, metric: Metric) -> tuple[Int64, Float32]:
    """The best `top_k` of the `rows` [q, k] that an index found by codes, by the vectors themselves."""
    costs = np.full(rows.shape, np.inf, dtype=np.float32)
    for query, found, cost in zip(queries, rows, costs, strict=True):
        items = found >= 0
        cost[items] = exact_costs(vectors[found[items]], query, metric)
    rows, scores = best_first(rows, costs, metric)
    return rows[:, :top_k], scores[:, :top_k]


def blank_answer(queries: int, top_k: int) -> tuple[Int64, Float32]:
    """An answer without hits: rows [queries, top_k] of -1, scores of NaN."""
    return np.full((queries, top_k), -1, dtype=np.int64), np.full((queries, top_k), np.nan, dtype=np.float32)
