"""Searching among some of the rows: those that a filter selects, less those that a query excludes.

Two ways lead to the nearest allowed rows. *Exact*: look at each of them, which costs by their number. *By the graph*:
reach so far that enough of the nearest rows are allowed ones, which costs by how far: about top_k divided by the share
of allowed rows near the query. That may be quite another share than the one among all rows, because what people filter
by goes with what vectors say. So a search counts how many of the rows that it met are allowed, goes on further where
that was too few, and is exact as soon as this is the cheaper way. Each query gets min(top_k, allowed rows).

A look *around* asks for the nearest rows, allowed or not, and counts. An engine that keeps to a filter itself can look
*within* the allowed rows, which is cheaper for the same reach; but it answers with whatever it met on its way, near or
not, and so cannot tell how good it is. So the first look is around, and tells how far one within must reach.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.base import IndexSearcher, SearchEffort
from engines.checks import TOP_K_MAX
from engines.description import EngineDescription, Metric
from engines.effort import bounds
from engines.exact import ExactScan
from engines.metrics import blank_answer
from engines.rowset import RowSet
from replicas.queries import Floats, Rows

# So many allowed rows are looked at exactly in the time in which a graph reaches one candidate further. Measured with
# 100,000 x 64 on one thread: 0.08 us for a row, 1.1 us for a candidate of the one graph engine and 2.2 us of the other.
EXACT_ROWS_PER_CANDIDATE: Final = 16
# A look aims at so many times what it needs by the share of allowed rows: chance seldom leaves it short then, and what
# it needs lies well within its reach, whose edge a graph finds less of. Measured with 20,000 x 16, top 50, where 10 %
# are allowed, on six graphs that two threads built, each another one: 1.6 times as much gives recall 0.981 to 0.989
# (and 0.9795 once), 1.8 times 0.984 to 0.991; 1.3 times gave 0.9775.
SPARE: Final = 1.8
# Where the share among all rows asks for no more than so many times what an unfiltered search looks at, one look around
# costs less than one that tells the share and one within.
AROUND_AT_ONCE_MAX: Final = 4
# A search that found too little reaches at least so many times as far.
GROWTH_MIN: Final = 2


class SubsetSearch:
    """Searches one loaded index within sets of its rows; from any number of threads at once."""

    def __init__(
        self, searcher: IndexSearcher, vectors: Floats, metric: Metric, description: EngineDescription
    ) -> None:
        """`vectors` are those that the index was built from."""
        self._searcher = searcher
        self._scan = ExactScan(vectors, metric)
        self._filters, self._always_exact = description.filters, description.exact
        hits_max = min(TOP_K_MAX, description.hits_max or TOP_K_MAX)
        self._reach_max = bounds(description)[1] if self._filters and description.effort else hits_max

    def search(self, queries: Floats, top_k: int, effort: SearchEffort, allowed: RowSet) -> tuple[Rows, Floats]:
        """Rows [q, top_k] and scores [q, top_k], best first, padded with -1 and NaN: of the `allowed` rows alone.

        Each query gets min(top_k, allowed.count) of them. Raises EngineError.
        """
        answer = blank_answer(len(queries), top_k)
        wanted = min(top_k, allowed.count)
        if not wanted or not len(queries):
            return answer
        pending = np.arange(len(queries))
        by_share = ceil(SPARE * wanted * allowed.size / allowed.count)
        first = self._first_reach(max(top_k, effort.ef or 0), by_share)
        reach = np.full(len(queries), first)
        while pending.size:
            exact = self._is_exact_cheaper(np.maximum(reach[pending], by_share), effort, allowed)
            if exact.any():
                _put(answer, pending[exact], *self._exactly(queries[pending[exact]], top_k, effort, allowed))
                pending = pending[~exact]
                continue
            furthest = int(reach[pending].max())
            look = self._look_within if self._filters and furthest > first else self._look_around
            rows, scores = look(queries[pending], top_k, furthest, effort, allowed)
            found = (rows >= 0).sum(axis=1)
            enough = found >= wanted
            _put(answer, pending[enough], rows[enough], scores[enough])
            pending, found = pending[~enough], found[~enough]
            reach[pending] = _further(furthest, found, wanted)
        return answer

    def _first_reach(self, unfiltered: int, by_share: int) -> int:
        """How far the first look goes; `unfiltered` is what a search of all rows looks at."""
        if self._filters and by_share > AROUND_AT_ONCE_MAX * unfiltered:
            return unfiltered
        return max(unfiltered, by_share)

    def _is_exact_cheaper(self, reach: Rows, effort: SearchEffort, allowed: RowSet) -> NDArray[np.bool_]:
        if effort.exact or self._always_exact:
            return np.ones(len(reach), dtype=np.bool_)
        return (allowed.count <= EXACT_ROWS_PER_CANDIDATE * reach) | (reach > self._reach_max)

    def _exactly(self, queries: Floats, top_k: int, effort: SearchEffort, allowed: RowSet) -> tuple[Rows, Floats]:
        if self._filters:
            return self._searcher.search(queries, top_k, replace(effort, exact=True), allowed)
        return self._scan.search(queries, top_k, allowed, until=effort.until)

    def _look_within(
        self, queries: Floats, top_k: int, reach: int, effort: SearchEffort, allowed: RowSet
    ) -> tuple[Rows, Floats]:
        """The best top_k of the allowed rows that the graph meets on its way to the `reach` nearest rows."""
        return self._searcher.search(queries, top_k, replace(effort, ef=reach), allowed)

    def _look_around(
        self, queries: Floats, top_k: int, reach: int, effort: SearchEffort, allowed: RowSet
    ) -> tuple[Rows, Floats]:
        """The best top_k of the allowed rows among the `reach` nearest rows."""
        rows, scores = self._searcher.search(queries, reach, effort)
        held = allowed.holds(rows)
        first = np.argsort(~held, axis=1, kind="stable")[:, :top_k]
        held = np.take_along_axis(held, first, axis=1)
        rows = np.where(held, np.take_along_axis(rows, first, axis=1), -1)
        return rows, np.where(held, np.take_along_axis(scores, first, axis=1), np.float32(np.nan))


def _further(reach: int, found: NDArray[np.intp], wanted: int) -> Rows:
    """How far each search must reach by the share of allowed rows that it met within `reach`."""
    by_share_met = np.ceil(SPARE * reach * wanted / np.maximum(found, 1)).astype(np.int64)
    return np.maximum(GROWTH_MIN * reach, by_share_met)


def _put(answer: tuple[Rows, Floats], queries: NDArray[np.intp], rows: Rows, scores: Floats) -> None:
    answer[0][queries], answer[1][queries] = rows, scores
