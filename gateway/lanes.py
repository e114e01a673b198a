"""What a call costs a replica, told before it is sent, and the lane that it waits in by that.

A price is microseconds of one of the replica's threads, about: it decides who waits behind whom, and nobody is refused
by it. A call whose whole price is small is quick, a batch as much as a single query; all others are costly, are cut
into pieces of a bounded price, and queue for places of their own (`batching`, and `places` in the replica). What is not
known is taken for costly: a quick call in the costly lane waits, a costly one in the quick lane has everybody wait.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.queries import ItemsQuery, Query

# A call up to this price is quick: what a caller of the quick lane may find before it.
QUICK_US_MAX = 5_000
# A piece of a costly call; what costs more and cannot be cut travels alone.
PIECE_US_MAX = 10_000

# Beside the search: reading the query, and writing an answer of 100 items.
ANSWER_US = 60.0
# Where a route brings no figures of its version. A candidate of a graph with 64 dimensions takes 1.15 us among a
# million items (DESIGN section 9), of which reading the vector is the larger part.
EFFORT_DEFAULT = 200
CANDIDATE_US, CANDIDATE_VALUE_US = 0.35, 0.0125
MODEL_US_DEFAULT = 10_000.0
# Exact search: 0.03 us for a row of 64 values (engines/exact.py).
ROW_US, ROW_VALUE_US = 0.01, 0.0003
# A filter, for each root of (top_k x items): the replica searches by the graph or exactly, whichever is cheaper, and
# where it selects the share at which both cost the same, that is the dearest (replicas/subsets.py).
FILTER_US = 0.4
# Of each item of an answer: an attribute by its type, and its vector by its length. Measured with 20,000 items: 0.2 to
# 0.4 us for a string or a number, 3.2 for a list; a vector of 64 values 0.3 to 0.5, one of 512 1.1 to 8.9.
ATTRIBUTE_US, LIST_ATTRIBUTE_US = 0.3, 3.2
RETURNED_US, RETURNED_VALUE_US = 0.1, 0.006
# An id of a query by items, of an exclusion list, of GetItems with some attributes.
ITEM_US, EXCLUDED_US, GET_ITEM_US = 1.0, 0.3, 6.0
# An index of cells has about as many of them as a cell has items, and looks at so many items of a cell in the time that
# a graph takes for one candidate: a step in a graph is a cache miss, a cell is read from front to end.
CELL_ITEMS_PER_CANDIDATE = 16
# More excluded ids no longer widen a search: they are left out while it runs.
EXCLUDED_CUT_MAX = 256


class Lane(Enum):
    """The values are labels of metrics."""

    QUICK = "quick"
    COSTLY = "costly"


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one version, in microseconds. A query vector costs `vector_us`, and `candidate_us` for each candidate.

    `effort` is how many candidates a query looks at without an ef, `cell_candidates` what a cell counts that it names
    by nprobe, `exact_us` what a vector costs that is searched exactly, `filter_us` what a filter costs for each root of
    top_k. The query model takes `model_us` for a query by features, and gives `model_vectors`. Each item of an answer
    costs `attribute_us` by the names that it is to have, and `returned_us` with its vector.
    """

    vector_us: float
    candidate_us: float
    effort: int
    cell_candidates: float
    exact_us: float
    filter_us: float
    model_us: float
    model_vectors: int
    returned_us: float
    attribute_us: Mapping[str, float]


def prices_of(
    *,
    items: int,
    dimension: int,
    vector_us: float,
    effort: int,
    model_us: float,
    model_vectors: int,
    attribute_types: Mapping[str, str],
) -> Prices:
    """From what a route says of a version; a `vector_us` or `model_us` of 0 was not measured."""
    scans = vector_us > 0 and not effort
    if not vector_us:
        effort = EFFORT_DEFAULT
        vector_us = effort * (CANDIDATE_US + CANDIDATE_VALUE_US * dimension)
    return Prices(
        vector_us=vector_us if scans else 0.0,
        candidate_us=0.0 if scans else vector_us / effort,
        effort=effort,
        cell_candidates=max(1.0, math.sqrt(items) / CELL_ITEMS_PER_CANDIDATE),
        exact_us=items * (ROW_US + ROW_VALUE_US * dimension),
        filter_us=FILTER_US * math.sqrt(items),
        model_us=model_us or MODEL_US_DEFAULT,
        model_vectors=max(1, model_vectors),
        returned_us=RETURNED_US + RETURNED_VALUE_US * dimension,
        attribute_us={name: _attribute_us(kind) for name, kind in attribute_types.items()},
    )


def price_us(query: Query, prices: Prices) -> float:
    """What a (checked) query costs."""
    if query.exact:
        vector_us = prices.exact_us
    else:
        ef = max(query.ef or prices.effort, (query.nprobe or 0) * prices.cell_candidates)
        wanted = query.top_k + min(query.excluded, EXCLUDED_CUT_MAX) if query.excluded else query.top_k
        vector_us = prices.vector_us + prices.candidate_us * (ef if ef > wanted else wanted)
        if query.filter_bytes:
            vector_us += prices.filter_us * math.sqrt(query.top_k)
    us = ANSWER_US + EXCLUDED_US * query.excluded
    if query.return_attributes or query.return_vectors:
        us += query.top_k * _item_us(query, prices)
    if query.vector_values:
        return us + vector_us * len(query.vector_values)
    if query.items is not None:
        return us + vector_us + ITEM_US * len(query.items.weights)
    return us + vector_us * prices.model_vectors + prices.model_us


def cells_within(ef: int, prices: Prices) -> int:
    """How many cells a query may name that looks at no more than `ef` candidates; one is always allowed."""
    return max(1, int(ef / prices.cell_candidates))


def _attribute_us(kind: str) -> float:
    return LIST_ATTRIBUTE_US if kind.startswith("list") else ATTRIBUTE_US


def _item_us(query: Query, prices: Prices) -> float:
    """What each item of the answer costs by what is returned with it. The replica refuses a name that is unknown."""
    us = prices.returned_us if query.return_vectors else 0.0
    return us + sum(prices.attribute_us.get(name, 0.0) for name in query.return_attributes)


def items_price_us(query: ItemsQuery) -> float:
    """What a GetItems costs."""
    return ANSWER_US + GET_ITEM_US * query.ids


def lane_of(us: float) -> Lane:
    """The lane of a call of this price."""
    return Lane.QUICK if us <= QUICK_US_MAX else Lane.COSTLY
