from __future__ import annotations

import pytest

from replicas.backoff import STEADY_SECONDS, Backoff


@pytest.fixture
def backoff() -> Backoff:
    return Backoff(seconds_min=0.2, seconds_max=30.0, deaths_max=5, window_seconds=60.0)


def test_it_waits_twice_as_long_after_each_death_in_a_row(backoff: Backoff) -> None:
    pauses = [backoff.died(20.0 * number, lived_seconds=1.0) for number in range(9)]

    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert not backoff.failed


def test_five_deaths_in_a_minute_fail_it_and_slow_it_down(backoff: Backoff) -> None:
    pauses = [backoff.died(10.0 * number, lived_seconds=1.0) for number in range(5)]

    assert backoff.failed
    assert pauses[3:] == [1.6, 30.0]


def test_it_stays_failed_while_the_process_dies_young(backoff: Backoff) -> None:
    for number in range(5):
        backoff.died(float(number), lived_seconds=0.5)

    assert backoff.died(1_000.0, lived_seconds=STEADY_SECONDS - 1) == 30.0
    assert backoff.failed


def test_a_long_life_is_forgiven_everything(backoff: Backoff) -> None:
    for number in range(5):
        backoff.died(float(number), lived_seconds=0.5)

    assert backoff.died(1_000.0, lived_seconds=STEADY_SECONDS) == 0.2
    assert not backoff.failed
