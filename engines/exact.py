"""Exact search over mapped rows, in bounded memory and with a deterministic order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from engines.base import Float32, Int64
from engines.checks import check_finite
from engines.description import Metric
from engines.errors import DeadlineOver
from engines.metrics import blank_answer, exact_costs, larger_is_better, scores_of
from engines.rowset import RowSet

# One block of rows and its estimates for one pass of queries each take at most this: about a core's second-level cache.
BLOCK_BYTES_MAX = 4 * 2**20
QUERIES_PER_PASS_MAX = 64
FLOAT32_ROUNDING = 2.0**-24
# Below it a float32 square has lost digits.
TRUSTED_SQUARE_MIN = 1e-30
# Up to this share of the rows, allowed ones are copied together; above it all are estimated, and others passed by. A
# row that lies apart takes 2.5 times as long as one of many side by side (measured, 100,000 x 64: 0.08 and 0.03 us).
GATHERED_SHARE_MAX = 1 / 3

# BLAS would start a thread per core for each product. Where another process keeps a core busy these wait for each
# other's time slices: 0.5 ms became 8 to 24. Several searches at once use several cores anyway.
threadpool_limits(limits=1, user_api="blas")


class ExactScan:
    """The true nearest rows of `vectors` [n, d] float32 by one metric; equal scores are ordered by row.

    Each block is first estimated by a float32 matrix product. Whatever could still be among the best, given how wrong
    the estimate can be, is computed again in float64. So answers do not depend on blocks, batches or threads.
    """

    def __init__(self, vectors: Float32, metric: Metric) -> None:
        self._vectors = vectors
        self._metric = metric
        self._block_rows = max(1, BLOCK_BYTES_MAX // (4 * max(vectors.shape[1], QUERIES_PER_PASS_MAX)))

    def prepare(self) -> None:
        """Read all rows once for their lengths, which the first search would do otherwise. Raises VectorsInvalid."""
        _ = self._lengths

    def search(
        self, queries: Float32, top_k: int, allowed: RowSet | None = None, *, until: float | None = None
    ) -> tuple[Int64, Float32]:
        """Rows [q, top_k] and scores [q, top_k] for finite queries [q, d], padded with -1 and NaN.

        Of `allowed` rows alone, where it is given; few of them are read without a pass over all. Raises DeadlineOver
        within a block of the moment `until` of time.monotonic().
        """
        rows, scores = blank_answer(len(queries), top_k)
        for start in range(0, len(queries), QUERIES_PER_PASS_MAX):
            some = queries[start : start + QUERIES_PER_PASS_MAX]
            for offset, best in enumerate(self._best_of(some, top_k, allowed, until)):
                rows[start + offset, : len(best.rows)] = best.rows
                scores[start + offset, : len(best.rows)] = scores_of(best.costs, self._metric)
        return rows, scores

    def _best_of(self, queries: Float32, top_k: int, allowed: RowSet | None, until: float | None) -> list[_Best]:
        norms = [float(np.linalg.norm(query.astype(np.float64))) for query in queries]
        bests = [NOTHING] * len(queries)
        for block in self._blocks(allowed):
            if until is not None and time.monotonic() >= until:
                raise DeadlineOver("the deadline passed during a scan of the rows")
            estimates = self._estimates(block, queries)
            for i, query in enumerate(queries):
                limit = _limit(estimates[i], bests[i], top_k, self._error_bound(block, norms[i]))
                # Written so that an estimate that overflowed to NaN counts as near.
                near = np.flatnonzero(~(estimates[i] > limit))
                if block.mask is not None:
                    near = near[block.mask[near]]
                costs = exact_costs(block.vectors[near], query, self._metric)
                bests[i] = _merge(bests[i], _Best(block.rows_at(near), costs), top_k)
        return bests

    def _blocks(self, allowed: RowSet | None) -> Iterator[_Block]:
        """All allowed rows, ascending, a block at a time."""
        count = len(self._vectors)
        if allowed is not None and allowed.count <= GATHERED_SHARE_MAX * count:
            rows = allowed.rows
            for start in range(0, len(rows), self._block_rows):
                some = rows[start : start + self._block_rows]
                vectors = self._vectors[some]
                yield _Block(vectors, self._lengths_of(some, vectors), 0, some, None)
            return
        mask = None if allowed is None else allowed.mask
        squares, longest = self._lengths
        for first_row in range(0, count, self._block_rows):
            part = slice(first_row, first_row + self._block_rows)
            lengths = _Lengths(squares[part], longest)
            yield _Block(self._vectors[part], lengths, first_row, None, None if mask is None else mask[part])

    def _estimates(self, block: _Block, queries: Float32) -> Float32:
        """Estimated costs [q, b], off by at most the error bound; infinite for rows that are passed by."""
        with np.errstate(over="ignore", invalid="ignore"):
            products: Float32 = queries @ block.vectors.T
            if larger_is_better(self._metric):
                np.negative(products, out=products)
            else:
                products *= -2
                products += block.lengths.squares
                products += np.einsum("qd,qd->q", queries, queries)[:, None]
        if block.mask is not None:
            products[:, ~block.mask] = np.inf
        return products

    def _error_bound(self, block: _Block, query_norm: float) -> float:
        """How far an estimated cost in this block can be from the rounded exact one."""
        roundings = (block.vectors.shape[1] + 8) * FLOAT32_ROUNDING
        if larger_is_better(self._metric):
            return float(roundings * block.lengths.longest * query_norm)
        return float(roundings * (block.lengths.longest + query_norm) ** 2)

    def _lengths_of(self, rows: Int64, vectors: Float32) -> _Lengths:
        """Of some rows: known from a pass over all, or worked out here, so that few rows never cost such a pass."""
        if "_lengths" in self.__dict__:
            squares, longest = self._lengths
            return _Lengths(squares if larger_is_better(self._metric) else squares[rows], longest)
        with np.errstate(over="ignore"):
            squares = np.einsum("nd,nd->n", vectors, vectors)
        if not TRUSTED_SQUARE_MIN < squares.max(initial=0) < np.inf:
            squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
        # Their own roundings are far below one in a thousand.
        return _Lengths(squares.astype(np.float32, copy=False), 1.001 * float(squares.max(initial=0)) ** 0.5)

    @cached_property
    def _lengths(self) -> _Lengths:
        count = len(self._vectors)
        squares = np.empty(count, dtype=np.float32)
        longest_square = 0.0
        for first_row in range(0, count, self._block_rows):
            block = self._vectors[first_row : first_row + self._block_rows]
            check_finite(block, first_row)
            found = np.einsum("nd,nd->n", block, block, dtype=np.float64)
            longest_square = max(longest_square, float(found.max()))
            squares[first_row : first_row + len(block)] = found
        # Only the estimate of a distance needs each row's own square.
        return _Lengths(NO_SQUARES if larger_is_better(self._metric) else squares, longest_square**0.5)


class _Lengths(NamedTuple):
    squares: Float32  # [n] for a distance; not looked at for a product.
    longest: float


class _Block(NamedTuple):
    """Rows `first_row` and on, or else `rows`; where there is a `mask` [b], only the rows at which it is true count."""

    vectors: Float32  # [b, d]
    lengths: _Lengths
    first_row: int
    rows: Int64 | None
    mask: NDArray[np.bool_] | None

    def rows_at(self, places: Int64) -> Int64:
        return places + self.first_row if self.rows is None else self.rows[places]


NO_SQUARES = np.empty(0, dtype=np.float32)


class _Best(NamedTuple):
    rows: Int64
    costs: Float32  # Ascending; equal ones by row.


NOTHING = _Best(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def _limit(estimates: NDArray[np.float32], best: _Best, top_k: int, bound: float) -> float:
    """The largest estimate in this block that can still belong to one of the best top_k."""
    limit = np.inf
    if len(estimates) > top_k:
        limit = float(np.partition(estimates, top_k - 1)[top_k - 1]) + 2 * bound
    if len(best.costs) == top_k:
        limit = min(limit, float(best.costs[-1]) + bound)
    return limit


def _merge(best: _Best, more: _Best, top_k: int) -> _Best:
    """The best top_k of both. All rows of `more` come after those of `best`: a stable sort keeps ties by row."""
    if not len(more.rows):
        return best
    rows = np.concatenate([best.rows, more.rows])
    costs = np.concatenate([best.costs, more.costs])
    order = np.argsort(costs, kind="stable")[:top_k]
    return _Best(rows[order], costs[order])
