"""The reservoir, by what a uniform sample must look like. Every seed is fixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas.reservoir import Reservoir

# Between these lie 998 of 1,000 values of chi-square with 199 degrees of freedom.
CHI_SQUARE_199 = (143.0, 266.4)


def kept_of(stream: int, reservoir: Reservoir, batches: list[int]) -> list[int]:
    """The positions that are kept at the end of a stream of `stream`, which comes in batches of these sizes, again and
    again.
    """
    slots: dict[int, int] = {}
    position, turn = 0, 0
    while position < stream:
        count = min(batches[turn % len(batches)], stream - position)
        for place, slot in reservoir.take(count):
            assert 0 <= place < count
            slots[slot] = position + place
        position, turn = position + count, turn + 1
    assert reservoir.seen == stream
    assert sorted(slots) == list(range(reservoir.filled))
    return sorted(slots.values())


@pytest.mark.parametrize("batches", [[1], [7, 1, 64], [500]])
def test_each_of_a_stream_is_as_likely_to_be_kept_whenever_it_came(batches):
    stream, size, trials = 200, 20, 4_000
    random = np.random.default_rng(1985)
    counts = np.zeros(stream)
    for _ in range(trials):
        counts[kept_of(stream, Reservoir(size, random), batches)] += 1
    share = size / stream
    chi_square = ((counts - trials * share) ** 2).sum() / (trials * share * (1 - share)) * (stream - 1) / stream
    assert CHI_SQUARE_199[0] < chi_square < CHI_SQUARE_199[1]


@pytest.mark.parametrize(("size", "seen"), [(1, 1), (3, 3), (20, 20), (20, 1_000), (1_000, 10**9)])
def test_the_next_one_that_is_kept_comes_as_algorithm_r_would_have_it(size, seen):
    """Of algorithm R, the t-th is kept with probability size / t: so many are passed over with the product of the rest.

    Also for a reservoir that goes on where another process stopped.
    """
    random, trials = np.random.default_rng(7), 20_000
    passed_over = np.array([next_kept(Reservoir(size, random, seen=seen)) for _ in range(trials)])
    for many in (1, 2, 5, max(1, seen // size)):
        expected = np.exp(np.log1p(-size / (seen + np.arange(1.0, many + 1))).sum())
        four_sigma = 4 * np.sqrt(expected * (1 - expected) / trials)
        assert abs((passed_over >= many).mean() - expected) <= four_sigma, many


def next_kept(reservoir: Reservoir) -> int:
    """How many are passed over before one is kept."""
    passed = 0
    chunk = 1
    while True:
        kept = reservoir.take(chunk)
        if kept:
            return passed + kept[0].place
        passed += chunk
        chunk *= 2


@given(st.lists(st.integers(1, 90), min_size=1, max_size=5), st.integers(1, 60), st.integers(0, 400))
def test_in_whatever_batches_the_stream_comes_the_same_are_kept(batches, size, stream):
    one_by_one = kept_of(stream, Reservoir(size, np.random.default_rng(3)), [1])
    assert kept_of(stream, Reservoir(size, np.random.default_rng(3)), batches) == one_by_one
    assert len(one_by_one) == min(size, stream)


def test_what_comes_late_in_a_long_stream_is_hardly_ever_looked_at():
    """10 million in batches of 16, of which 1,000 + 1,000 x ln(10,000) are kept at some time."""
    reservoir = Reservoir(1_000, np.random.default_rng(5))
    kept = sum(len(reservoir.take(16)) for _ in range(625_000))
    assert kept == pytest.approx(1_000 * (1 + np.log(10_000)), rel=0.05)
