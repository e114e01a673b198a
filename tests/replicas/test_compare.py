"""How a new version and the live one are asked the same by turns, and how much of the live one's time that takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas import compare
from replicas.compare import BUSY_SHARE_MAX, UNTIMED, Side, Unanswered

CALL_SECONDS = 0.005
TIMED = 40


class Replica:
    """Takes `seconds` for each answer, which is `ids`; knows when it was asked what."""

    def __init__(self, ids: list[int], seconds: float = CALL_SECONDS) -> None:
        self._ids, self._seconds = ids, seconds
        self.asked: list[bytes] = []
        self.began_at: list[float] = []
        self.busy_seconds = 0.0

    def __call__(self, request: replica_pb2.AnswerRequest, timeout: float) -> replica_pb2.AnswerResponse:
        began = time.monotonic()
        self.began_at.append(began)
        self.asked.append(request.requests[0])
        time.sleep(self._seconds)
        self.busy_seconds += time.monotonic() - began
        answer = recall_pb2.RecallResponse(ids=self._ids, scores=[1.0] * len(self._ids))
        return replica_pb2.AnswerResponse(answers=[replica_pb2.Answer(response=answer.SerializeToString())])


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "TIMED_MIN", TIMED)


def sides(ours: Callable[..., object], live: Callable[..., object]) -> tuple[Side, Side]:
    return Side("the new version", 8, ours), Side("the live version", 7, live)


def test_the_live_version_spends_at_most_a_fifth_of_its_time_on_it() -> None:
    ours, live = Replica([1, 2]), Replica([1, 3])
    began = time.monotonic()
    compare.compare(*sides(ours, live), [b"a", b"b", b"c"])
    assert len(live.asked) == TIMED + UNTIMED
    assert live.busy_seconds <= 1.1 * BUSY_SHARE_MAX * (time.monotonic() - began)


def test_one_that_is_slow_itself_rests_the_live_version_meanwhile() -> None:
    """Its turn is longer than the rest that is due, so that there is none beside it."""
    ours, live = Replica([1], seconds=10 * CALL_SECONDS), Replica([1])
    began = time.monotonic()
    compare.compare(*sides(ours, live), [b"a"])
    assert time.monotonic() - began < 2 * (ours.busy_seconds + live.busy_seconds)


def test_both_are_asked_the_same_and_by_turns_who_is_first() -> None:
    ours, live = Replica([1, 2], seconds=0), Replica([1, 3], seconds=0)
    found = compare.compare(*sides(ours, live), [b"a", b"b", b"c"])
    assert ours.asked == live.asked
    assert set(ours.asked) == {b"a", b"b", b"c"}
    ours_first = [one < other for one, other in zip(ours.began_at, live.began_at, strict=True)]
    assert ours_first == [turn % 2 == 1 for turn in range(TIMED + UNTIMED)]
    assert (found["queries"], found["timed"], found["overlap"], found["mean_score"]) == (3, TIMED, 0.5, 1.0)


def test_each_query_counts_even_when_fewer_would_do_for_a_p99() -> None:
    ours, live = Replica([1], seconds=0), Replica([1], seconds=0)
    requests = [str(number).encode() for number in range(2 * (TIMED + UNTIMED))]
    assert compare.compare(*sides(ours, live), requests)["queries"] == len(requests)
    assert live.asked == requests


def test_it_ends_when_its_time_is_up_and_tells_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SECONDS_MAX", 0.2)
    ours, live = Replica([1]), Replica([1])
    found = compare.compare(*sides(ours, live), [str(number).encode() for number in range(10_000)])
    assert 0 < found["queries"] < 1_000
    assert found["timed"] == max(0, len(live.asked) - UNTIMED)
    assert found["p50_ms"] >= 1e3 * CALL_SECONDS
    assert found["beside_p50_ms"] >= 1e3 * CALL_SECONDS


def test_a_live_version_that_refuses_the_queries_is_named() -> None:
    def refuses(request: replica_pb2.AnswerRequest, timeout: float) -> replica_pb2.AnswerResponse:
        error = recall_pb2.RecallError(message="vectors: it has 64 dimensions")
        return replica_pb2.AnswerResponse(answers=[replica_pb2.Answer(error=error)])

    with pytest.raises(Unanswered, match="the live version does not answer these queries: vectors: it has 64"):
        compare.compare(*sides(Replica([1]), refuses), [b"a"])
