"""From what a query says to the vectors that are searched: the rules that replicas and builds share.

A replica follows them for each query, a build for the queries that a drop recorded, so that what was tuned is what is
asked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bundles.batches import Float32

Float64 = np.ndarray[Any, np.dtype[np.float64]]

# The greatest length of a vector as it is searched, so that no score of it overflows float32. No real one is near.
LENGTH_MAX = 1e18
# Squares that add up to less are of no component that is not finite and of no vector that is too long, whatever the
# rounding of the sum in float32.
SQUARES_SURELY_GOOD = 0.9 * LENGTH_MAX**2
# OpenBLAS shares a product of more numbers than 10,000 among threads, which not every process here has forbidden it.
VALUES_OF_ONE_THREAD_MAX = 8_192
# What is left of weights or vectors that cancel out is rounding when it is less than this share of what went in:
# stored vectors are float32, whose rounding is 6e-8.
LEFT_MIN = 1e-6


class Refusal(NamedTuple):
    """Why a vector cannot be searched."""

    reason: str
    message: str


NOT_FINITE = Refusal("VECTOR_NOT_FINITE", "the vector holds NaN or an infinite value")
TOO_LONG = Refusal("VECTOR_TOO_LONG", f"the vector's length is above {LENGTH_MAX:g}, where scores overflow")
ZERO = Refusal("VECTOR_ZERO", "a vector of zeros has no direction, which this service's metric needs")


class Searched(NamedTuple):
    """Vectors float32 [n, d], and the refused rows; a refused row's values mean nothing."""

    matrix: Float32
    refused: dict[int, Refusal]


class WeightsCancel(Exception):
    """Weighted vectors have no mean; `message` says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def as_searched(matrix: Float32, *, normalized: bool) -> Searched:
    """Vectors float32 [n, d] of any origin as they are searched: of length 1 when the schema says so."""
    is_small = matrix.size <= VALUES_OF_ONE_THREAD_MAX
    if not normalized and is_small and np.vdot(matrix, matrix) < SQUARES_SURELY_GOOD:
        return Searched(np.ascontiguousarray(matrix, dtype=np.float32), {})
    # One pass tells both: the length of a vector with NaN or an infinite value is not below anything.
    norms = _norms(matrix)
    good = norms < (np.inf if normalized else LENGTH_MAX)
    refused: dict[int, Refusal] = {}
    if not good.all():
        refused = {row: TOO_LONG if np.isfinite(norms[row]) else NOT_FINITE for row in np.flatnonzero(~good).tolist()}
        matrix = np.where(good[:, None], matrix, np.float32(0))
        norms = np.where(good, norms, 0.0)
    if normalized:
        if not norms.all():
            refused = {**dict.fromkeys(np.flatnonzero(norms == 0).tolist(), ZERO), **refused}
            norms = np.where(norms == 0, 1.0, norms)
        matrix = (matrix / norms[:, None]).astype(np.float32)
    return Searched(np.ascontiguousarray(matrix, dtype=np.float32), refused)


def weighted_mean(vectors: Float32, weights: Float64, *, metric: str, normalized: bool) -> Float32:
    """The mean, float32 [d], of item vectors [n, d] under `weights` [n], of which at least one is not 0.

    Directions (every metric but a plain `l2`): the sum of weight x vector over the sum of the absolute weights, so that
    a negative weight pushes away and never turns the rest around. Places (plain `l2`): over the sum of the weights, so
    that the origin plays no part: a negative weight pushes the mean away from the item, and that sum must be above 0.
    Raises WeightsCancel.
    """
    exact = vectors.astype(np.float64)
    total = weights @ exact
    absolute = np.abs(weights)
    if metric == "l2" and not normalized:
        share = float(weights.sum())
        if share <= LEFT_MIN * absolute.sum():
            message = f"the weights of the query items that are known add up to {share:g}; under l2 it must be above 0"
            raise WeightsCancel(message)
    else:
        share = float(absolute.sum())
        if np.linalg.norm(total) <= LEFT_MIN * (absolute @ np.linalg.norm(exact, axis=1)):
            message = "the weighted vectors of the query items that are known cancel out: they have no direction"
            raise WeightsCancel(message)
    with np.errstate(over="ignore"):
        mean: Float32 = (total / share).astype(np.float32)
    return mean


def _norms(matrix: Float32) -> Float64:
    """In float64, so that great components do not overflow and small ones do not vanish."""
    squares: Float64 = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return np.sqrt(squares)
