"""Quick calls and costly ones have places of their own, and costly ones leave one empty while quick calls come."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicas import places
from replicas.places import Lane, Places

QUICK, COSTLY = Lane.QUICK, Lane.COSTLY
PATIENCE_SECONDS = 20.0
AT_ONCE = 0.0


def taken(places: Places, lane: Lane, count: int) -> list[bool]:
    return [places.take(lane, AT_ONCE) for _ in range(count)]


def test_each_lane_has_its_places_and_neither_takes_the_others() -> None:
    some = Places(2)
    assert taken(some, COSTLY, 3) == [True, True, False]
    assert taken(some, QUICK, 3) == [True, True, False]


def test_costly_calls_leave_a_place_empty_while_quick_ones_come_and_have_all_when_they_have_ceased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "QUIET_SECONDS", 0.2)
    some = Places(2)
    assert some.take(QUICK, AT_ONCE)
    some.give_back(QUICK)
    assert taken(some, COSTLY, 2) == [True, False]
    began = time.monotonic()
    assert some.take(COSTLY, PATIENCE_SECONDS)
    assert 0.1 < time.monotonic() - began < PATIENCE_SECONDS / 2


def test_a_single_place_is_never_withheld_from_costly_calls() -> None:
    some = Places(1)
    assert taken(some, QUICK, 1) == taken(some, COSTLY, 1) == [True]


def test_costly_calls_are_served_in_the_order_in_which_they_came() -> None:
    some, served = Places(1), []
    assert some.take(COSTLY, AT_ONCE)

    def wait(number: int) -> None:
        assert some.take(COSTLY, PATIENCE_SECONDS)
        served.append(number)
        some.give_back(COSTLY)

    with ThreadPoolExecutor(8) as pool:
        waiting = []
        for number in range(8):
            waiting.append(pool.submit(wait, number))
            time.sleep(0.02)
        assert not some.take(COSTLY, AT_ONCE), "nobody steps in front"
        some.give_back(COSTLY)
        for each in waiting:
            each.result(PATIENCE_SECONDS)
    assert served == list(range(8))


def test_who_gives_up_waiting_leaves_the_line() -> None:
    some = Places(1)
    assert some.take(COSTLY, AT_ONCE)
    assert not some.take(COSTLY, 0.05)
    some.give_back(COSTLY)
    assert some.take(COSTLY, AT_ONCE)


@pytest.mark.parametrize("lane", Lane)
def test_of_many_threads_never_more_than_the_places_work_at_once(lane: Lane) -> None:
    some, lock = Places(2), threading.Lock()
    at_once = most = 0

    def work(_: int) -> None:
        nonlocal at_once, most
        assert some.take(lane, PATIENCE_SECONDS)
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1
        some.give_back(lane)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(100)))
    assert most == 2
