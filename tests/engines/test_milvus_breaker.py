"""When an instance is asked no more, and when again, by what calls tell of it; no server and no clock."""

from __future__ import annotations

from engines.milvus.breaker import (
    BEAT_SECONDS,
    DOUBT_SECONDS,
    FAILURES_MAX,
    REST_SECONDS,
    UNWANTED_SECONDS,
    Breaker,
)

NOW = 1_000.0
WHY = "the instance blue: Deadline Exceeded"


def opened() -> Breaker:
    breaker = Breaker(NOW)
    assert [breaker.failed(WHY) for _ in range(FAILURES_MAX)] == [False] * (FAILURES_MAX - 1) + [True]
    return breaker


def test_it_opens_after_several_failures_in_a_row_and_says_so_once() -> None:
    breaker = opened()
    assert (breaker.is_open, breaker.why) == (True, WHY)
    assert not breaker.failed(WHY)


def test_an_answer_in_between_begins_the_row_anew() -> None:
    breaker = Breaker(NOW)
    for _ in range(3):
        for _ in range(FAILURES_MAX - 1):
            assert not breaker.failed(WHY)
        assert not breaker.answered(NOW)
    assert not breaker.is_open


def test_one_answer_closes_it_and_says_so_once() -> None:
    breaker = opened()
    assert breaker.answered(NOW)
    assert not breaker.is_open
    assert not breaker.answered(NOW)


def test_it_knows_how_long_the_instance_has_been_silent() -> None:
    breaker = Breaker(NOW)
    # Nobody has asked: that is no silence.
    assert breaker.silent_seconds(NOW + 100) == 0
    breaker.answered(NOW + 100)
    breaker.failed(WHY)
    assert breaker.silent_seconds(NOW + 107) == 7
    breaker.answered(NOW + 110)
    assert breaker.silent_seconds(NOW + 111) == 0


def test_the_heart_is_felt_only_while_nobody_else_hears_of_the_instance() -> None:
    breaker = Breaker(NOW)
    assert breaker.pause_seconds(NOW) == BEAT_SECONDS
    breaker.answered(NOW + 0.4)
    assert not breaker.is_in_doubt(NOW + BEAT_SECONDS)
    assert breaker.pause_seconds(NOW + 0.4) == BEAT_SECONDS
    assert breaker.is_in_doubt(NOW + 0.4 + BEAT_SECONDS)


def test_an_instance_in_doubt_is_looked_after_more_often_and_an_unwanted_one_more_seldom() -> None:
    breaker = Breaker(NOW)
    breaker.failed(WHY)
    assert breaker.is_in_doubt(NOW)
    assert breaker.pause_seconds(NOW) == DOUBT_SECONDS
    breaker = opened()
    assert breaker.pause_seconds(NOW + UNWANTED_SECONDS) == DOUBT_SECONDS
    later = NOW + UNWANTED_SECONDS + 1
    assert breaker.pause_seconds(later) == REST_SECONDS
    assert breaker.wanted(later), "who comes then does not wait for the next look"
    assert breaker.pause_seconds(later) == DOUBT_SECONDS
    assert not breaker.wanted(later + 1)
