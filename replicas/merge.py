"""Several ranked lists become one. Pure functions over row numbers and scores.

A list is what one query vector found, best first; `rows` and `scores` are [m, k], a row of -1 is no item, wherever it
stands.
Every policy orders equal scores by row, so the same lists always give the same answer.

MAX           an item's score is its best weighted score. Similarities are multiplied by their list's weight,
              squared distances (l2) are divided by it, so a greater weight favours its list (but not in
              similarities below 0, which it takes farther away). No item that the lists lack could be better.
WEIGHTED_SUM  an item's score is the sum of weight x score over the lists that hold it. For l2 the least sum is
              best; a list that lacks the item adds weight x its own farthest distance, which is the least that
              the item's distance can be there. (Else an item would gain by being far from most vectors.)
ROUND_ROBIN   the lists take turns, in proportion to their weights; each gives its best item that is not yet
              taken, with the score it has there. The scores of the answer are therefore not sorted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replicas.queries import Floats, MergePolicy, Rows

FLOAT32_MAX = float(np.finfo(np.float32).max)


class Merged(NamedTuple):
    """Items of all lists, best first; `found_by` is the list that speaks for the item."""

    rows: Rows
    scores: Floats
    found_by: NDArray[np.int32]


class _Entries(NamedTuple):
    """All items of all lists, side by side."""

    rows: Rows
    scores: NDArray[np.float64]
    lists: NDArray[np.int64]


def merge(
    policy: MergePolicy, rows: Rows, scores: Floats, weights: NDArray[np.float64], *, top_k: int, larger_is_better: bool
) -> Merged:
    """At most `top_k` items of `rows` [m, k] under `policy`; `weights` [m] is one for each list."""
    if policy is MergePolicy.ROUND_ROBIN:
        return _merge_in_turns(rows, scores, weights, top_k)
    score = _best if policy is MergePolicy.MAX else _summed
    items, values, found_by = score(rows, scores, weights, larger_is_better)
    order = np.lexsort((items, -values if larger_is_better else values))[:top_k]
    # Weights may be as great as float32 goes, and their products are not numbers of it.
    narrowed = np.clip(values[order], -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)
    return Merged(items[order], narrowed, found_by[order].astype(np.int32))


def _best(rows: Rows, scores: Floats, weights: NDArray[np.float64], larger_is_better: bool) -> _Entries:
    """Each item once, with its best weighted score and the list that gave it."""
    entries = _entries(rows, scores)
    weight = weights[entries.lists]
    values = entries.scores * weight if larger_is_better else entries.scores / weight
    return _first_of_each_item(_Entries(entries.rows, values, entries.lists), larger_is_better)


def _summed(rows: Rows, scores: Floats, weights: NDArray[np.float64], larger_is_better: bool) -> _Entries:
    """Each item once, with its weighted sum and the list that favours it most."""
    entries = _entries(rows, scores)
    values = entries.scores * weights[entries.lists]
    lacking = np.zeros(len(rows)) if larger_is_better else weights * _farthest(rows, scores)
    items, place = np.unique(entries.rows, return_inverse=True)
    table = np.repeat(lacking[:, None], items.size, axis=1)
    table[entries.lists, place] = values
    gains = (values - lacking[entries.lists]) * (1 if larger_is_better else -1)
    favourites = _first_of_each_item(_Entries(entries.rows, gains, entries.lists), larger_is_better=True)
    return _Entries(items, table.sum(axis=0), favourites.lists)


def _entries(rows: Rows, scores: Floats) -> _Entries:
    lists, places = np.nonzero(rows >= 0)
    return _Entries(rows[lists, places], scores[lists, places].astype(np.float64), lists)


def _first_of_each_item(entries: _Entries, larger_is_better: bool) -> _Entries:
    """The best entry of each item, ordered by row; the earlier list wins a tie."""
    values = -entries.scores if larger_is_better else entries.scores
    order = np.lexsort((entries.lists, values, entries.rows))
    sorted_rows = entries.rows[order]
    first = np.ones(order.size, dtype=bool)
    first[1:] = sorted_rows[1:] != sorted_rows[:-1]
    chosen = order[first]
    return _Entries(entries.rows[chosen], entries.scores[chosen], entries.lists[chosen])


def _farthest(rows: Rows, scores: Floats) -> NDArray[np.float64]:
    """The greatest distance that each list holds, 0 for an empty list."""
    distances: NDArray[np.float64] = np.where(rows >= 0, scores, 0.0).astype(np.float64)
    return np.asarray(distances.max(axis=1, initial=0.0))


def _merge_in_turns(rows: Rows, scores: Floats, weights: NDArray[np.float64], top_k: int) -> Merged:
    """A list's next turn comes at `turns taken + 1` over its weight; the earlier list wins a tie."""
    # What was cut out of a list has left a gap in it.
    kept = [np.flatnonzero(found >= 0) for found in rows]
    lists: list[list[int]] = [found[places].tolist() for found, places in zip(rows, kept, strict=True)]
    position = [0] * len(lists)
    # Turns are counted: sums of rounded shares would not meet where the lists' turns do.
    turns = [0] * len(lists)
    taken: dict[int, tuple[int, int]] = {}
    waiting = {number for number, found in enumerate(lists) if found}
    while waiting and len(taken) < top_k:
        number = min(waiting, key=lambda which: ((turns[which] + 1) / weights[which], which))
        place = _skip_taken(lists[number], position[number], taken)
        if place < len(lists[number]):
            taken[lists[number][place]] = (number, place)
            turns[number] += 1
        position[number] = place + 1
        if position[number] >= len(lists[number]):
            waiting.discard(number)
    found_by = np.fromiter((number for number, _ in taken.values()), np.int32, len(taken))
    places = np.fromiter((kept[number][place] for number, place in taken.values()), np.int64, len(taken))
    return Merged(np.fromiter(taken, np.int64, len(taken)), scores[found_by, places], found_by)


def _skip_taken(found: list[int], place: int, taken: dict[int, tuple[int, int]]) -> int:
    while place < len(found) and found[place] in taken:
        place += 1
    return place
