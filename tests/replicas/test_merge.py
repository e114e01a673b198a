"""Merging, against a plain computation over dictionaries that shares nothing with the code under test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas.merge import Merged, merge
from replicas.queries import MergePolicy

ROWS_MAX = 12


@st.composite
def ranked_lists(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """rows [m, k] and scores [m, k] as searches return them, weights [m], and whether larger is better."""
    larger_is_better = draw(st.booleans())
    lists, width = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    rows = np.full((lists, width), -1, dtype=np.int64)
    scores = np.full((lists, width), np.nan, dtype=np.float32)
    low = -8 if larger_is_better else 0
    for number in range(lists):
        found = draw(st.lists(st.integers(0, ROWS_MAX), unique=True, max_size=width))
        # Eighths add up exactly, so that equal sums are equal in any order of addition.
        values = [draw(st.integers(low, 64)) / 8 for _ in found]
        ranked = sorted(
            zip(values, found, strict=True), key=lambda pair: (-pair[0] if larger_is_better else pair[0], pair[1])
        )
        # Exclusions leave gaps anywhere in a list.
        places = sorted(draw(st.permutations(range(width)))[: len(ranked)])
        for place, (value, row) in zip(places, ranked, strict=True):
            rows[number, place], scores[number, place] = row, value
    weights = np.array([draw(st.sampled_from([0.25, 0.5, 1.0, 2.0])) for _ in range(lists)])
    return rows, scores, weights, larger_is_better


def as_dicts(rows: np.ndarray, scores: np.ndarray) -> list[dict[int, float]]:
    return [
        {int(row): float(score) for row, score in zip(found, values, strict=True) if row >= 0}
        for found, values in zip(rows, scores, strict=True)
    ]


def ordered(values: dict[int, float], *, larger_is_better: bool) -> list[int]:
    return sorted(values, key=lambda row: (-values[row] if larger_is_better else values[row], row))


def run(policy: MergePolicy, case: tuple[np.ndarray, np.ndarray, np.ndarray, bool], top_k: int) -> Merged:
    rows, scores, weights, larger_is_better = case
    return merge(policy, rows, scores, weights, top_k=top_k, larger_is_better=larger_is_better)


@given(case=ranked_lists(), top_k=st.integers(1, 30))
def test_max_gives_each_item_its_best_weighted_score(case: tuple[np.ndarray, ...], top_k: int) -> None:
    rows, scores, weights, larger_is_better = case
    best: dict[int, float] = {}
    for weight, found in zip(weights, as_dicts(rows, scores), strict=True):
        for row, score in found.items():
            value = score * weight if larger_is_better else score / weight
            better = max if larger_is_better else min
            best[row] = better(best.get(row, value), value)

    merged = run(MergePolicy.MAX, case, top_k)

    expected = ordered(best, larger_is_better=bool(larger_is_better))[:top_k]
    assert merged.rows.tolist() == expected
    assert merged.scores.tolist() == [best[row] for row in expected]
    for row, score, number in zip(merged.rows, merged.scores, merged.found_by, strict=True):
        given_score = as_dicts(rows, scores)[number][int(row)]
        assert score == (given_score * weights[number] if larger_is_better else given_score / weights[number])


@given(case=ranked_lists(), top_k=st.integers(1, 30))
def test_weighted_sum_adds_over_the_lists_that_hold_the_item(case: tuple[np.ndarray, ...], top_k: int) -> None:
    rows, scores, weights, larger_is_better = case
    lists = as_dicts(rows, scores)
    sums: dict[int, float] = {}
    for row in {row for found in lists for row in found}:
        lacking = [0.0 if larger_is_better else max(found.values(), default=0.0) for found in lists]
        sums[row] = sum(w * found.get(row, miss) for w, found, miss in zip(weights, lists, lacking, strict=True))

    merged = run(MergePolicy.WEIGHTED_SUM, case, top_k)

    expected = ordered(sums, larger_is_better=bool(larger_is_better))[:top_k]
    assert merged.rows.tolist() == expected
    assert merged.scores.tolist() == [sums[row] for row in expected]
    assert all(int(row) in lists[number] for row, number in zip(merged.rows, merged.found_by, strict=True))


@given(case=ranked_lists(), top_k=st.integers(1, 30))
def test_round_robin_takes_turns_in_proportion_to_the_weights(case: tuple[np.ndarray, ...], top_k: int) -> None:
    rows, scores, weights, _ = case
    queues = [[int(row) for row in found if row >= 0] for found in rows]
    expected: list[tuple[int, int]] = []
    turns = [0] * len(queues)
    while any(queues) and len(expected) < top_k:
        taken = {row for row, _ in expected}
        queues = [[row for row in queue if row not in taken] for queue in queues]
        open_lists = [number for number, queue in enumerate(queues) if queue]
        if not open_lists:
            break
        number = min(open_lists, key=lambda which: ((turns[which] + 1) / weights[which], which))
        turns[number] += 1
        expected.append((queues[number][0], number))

    merged = run(MergePolicy.ROUND_ROBIN, case, top_k)

    assert list(zip(merged.rows.tolist(), merged.found_by.tolist(), strict=True)) == expected
    lists = as_dicts(rows, scores)
    assert merged.scores.tolist() == [lists[number][row] for row, number in expected]


@pytest.mark.parametrize("policy", list(MergePolicy))
@given(case=ranked_lists(), top_k=st.integers(1, 30))
def test_every_item_comes_once_and_none_is_invented(
    policy: MergePolicy, case: tuple[np.ndarray, ...], top_k: int
) -> None:
    merged = run(policy, case, top_k)

    there = {int(row) for row in case[0].ravel() if row >= 0}
    assert len(set(merged.rows.tolist())) == len(merged.rows) == min(top_k, len(there))
    assert set(merged.rows.tolist()) <= there
    assert merged.rows.dtype == np.int64
    assert merged.scores.dtype == np.float32
    assert merged.found_by.dtype == np.int32


def test_equal_weights_make_the_lists_alternate() -> None:
    rows = np.array([[1, 2, 3], [1, 5, 6]])
    scores = np.array([[9, 8, 7], [6, 5, 4]], dtype=np.float32)

    merged = merge(MergePolicy.ROUND_ROBIN, rows, scores, np.ones(2), top_k=5, larger_is_better=True)

    assert merged.rows.tolist() == [1, 5, 2, 6, 3]
    assert merged.found_by.tolist() == [0, 1, 0, 1, 0]
    assert merged.scores.tolist() == [9, 5, 8, 4, 7]


def test_a_far_item_gains_nothing_by_being_in_few_lists() -> None:
    """Two vectors, l2: item 1 is near both, item 2 is near one and unseen by the other."""
    rows = np.array([[1, 2], [1, 3]])
    scores = np.array([[0.25, 1.0], [0.25, 2.0]], dtype=np.float32)

    merged = merge(MergePolicy.WEIGHTED_SUM, rows, scores, np.ones(2), top_k=3, larger_is_better=False)

    assert merged.rows.tolist() == [1, 2, 3]
    assert merged.scores.tolist() == [0.5, 3.0, 3.0]
    # The second list would have added 2.0 for an item that it lacks, so it is the one that favours item 1 most.
    assert merged.found_by.tolist() == [1, 0, 1]
