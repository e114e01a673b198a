"""Searching among some of the rows: those that a filter selects, less those that a query excludes.

Two ways lead to the nearest allowed rows. *Exact*: look at each of them. *Wide*: let the graph find so many of the
nearest rows, allowed or not, that enough of them are allowed. The first costs by allowed rows, the second by how far it
must reach: about top_k divided by the share of allowed rows near the query, which may be quite another share than that
among all rows. So a search begins as wide as the share among all asks for, counts what it found, goes on wider where
that was too little, and is exact as soon as this is the cheaper way. The answer holds min(top_k, allowed rows) for
each query.
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
from engines.exact import ExactScan
from engines.metrics import blank_answer
from engines.rowset import RowSet
from replicas.queries import Floats, Rows

# So many allowed rows are looked at exactly in the time in which a graph reaches one candidate further.
EXACT_ROWS_PER_CANDIDATE: Final = 12
# A wide search aims at so many times what it needs by the share of allowed rows.
SPARE: Final = 1.3
# A search that found too little reaches at least so many times as far.
GROWTH_MIN: Final = 2


class SubsetSearch:
    """Searches one loaded index within sets of its rows; from any number of threads at once."""

    def __init__(self, searcher: IndexSearcher, vectors: Floats, metric: Metric, description: EngineDescription) -> None:
        """`vectors` are those that the index was built from."""
        self._searcher = searcher
        self._scan = ExactScan(vectors, metric)
        self._filters, self._always_exact = description.filters, description.exact

    def search(self, queries: Floats, top_k: int, effort: SearchEffort, allowed: RowSet) -> tuple[Rows, Floats]:
        """Rows [q, top_k] and scores [q, top_k], best first, padded with -1 and NaN: of the `allowed` rows alone.

        Each query gets min(top_k, allowed.count) of them. Raises EngineError.
        """
        answer = blank_answer(len(queries), top_k)
        wanted = min(top_k, allowed.count)
        if not wanted or not len(queries):
            return answer
        pending = np.arange(len(queries))
        reach = max(top_k, effort.ef or 0, ceil(SPARE * wanted * allowed.size / allowed.count))
        while pending.size and not self._is_exact_cheaper(reach, effort, allowed):
            rows, scores = self._look(queries[pending], top_k, reach, effort, allowed)
            found = (rows >= 0).sum(axis=1)
            enough = found >= wanted
            for column, values in zip(answer, (rows, scores), strict=True):
                column[pending[enough]] = values[enough]
            pending = pending[~enough]
            reach = _further(reach, found[~enough], wanted)
        if pending.size:
            rows, scores = self._exactly(queries[pending], top_k, effort, allowed)
            answer[0][pending], answer[1][pending] = rows, scores
        return answer

    def _is_exact_cheaper(self, reach: int, effort: SearchEffort, allowed: RowSet) -> bool:
        if effort.exact or self._always_exact or reach > TOP_K_MAX:
            return True
        return allowed.count <= EXACT_ROWS_PER_CANDIDATE * reach

    def _exactly(self, queries: Floats, top_k: int, effort: SearchEffort, allowed: RowSet) -> tuple[Rows, Floats]:
        if self._filters:
            return self._searcher.search(queries, top_k, replace(effort, exact=True), allowed)
        return self._scan.search(queries, top_k, allowed)

    def _look(
        self, queries: Floats, top_k: int, reach: int, effort: SearchEffort, allowed: RowSet
    ) -> tuple[Rows, Floats]:
        """The best top_k of the allowed rows among the `reach` nearest rows."""
        rows, scores = self._searcher.search(queries, reach, effort)
        held = allowed.holds(rows)
        first = np.argsort(~held, axis=1, kind="stable")[:, :top_k]
        held = np.take_along_axis(held, first, axis=1)
        rows = np.where(held, np.take_along_axis(rows, first, axis=1), -1)
        return rows, np.where(held, np.take_along_axis(scores, first, axis=1), np.float32(np.nan))


def _further(reach: int, found: NDArray[np.intp], wanted: int) -> int:
    """How far the least successful of some searches must reach, by the share of allowed rows that it met."""
    least = max(1, int(found.min(initial=wanted)))
    return max(GROWTH_MIN * reach, ceil(SPARE * reach * wanted / least))
