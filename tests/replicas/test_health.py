"""What audits show of a process, counted in rows."""

from __future__ import annotations

import grpc
import pytest

from recallpb.internal.v1 import documents_pb2
from replicas.health import WINDOW_AUDITS, Health, Unsupported

Code = grpc.StatusCode


def answered(*, ok: bool = True, p99_ms: float = 1.0) -> documents_pb2.OrderResult:
    agreement = 1.0 if ok else 0.3
    return documents_pb2.OrderResult(ok=ok, agreement=agreement, version=4, items=300, p99_ms=p99_ms)


def noted(*outcomes: documents_pb2.OrderResult | grpc.StatusCode, lives: bool = False) -> Health:
    health = Health()
    for outcome in outcomes:
        health.note(outcome, lives=lives, seconds_max=1.0)
    return health


def in_a_row(health: Health) -> tuple[int, int, int]:
    message = health.message()
    return message.right_in_a_row, message.wrong_in_a_row, message.silent_in_a_row


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([answered(), answered()], (2, 0, 0)),
        ([answered(), answered(ok=False)], (0, 1, 0)),
        ([answered(ok=False), answered(ok=False), answered()], (1, 0, 0)),
        ([answered(), Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE], (0, 0, 2)),
        ([Code.DEADLINE_EXCEEDED, answered()], (1, 0, 0)),
        ([answered(), Code.INTERNAL], (0, 1, 0)),
    ],
)
def test_it_counts_outcomes_of_one_kind_in_a_row(
    outcomes: list[documents_pb2.OrderResult | grpc.StatusCode], expected: tuple[int, int, int]
) -> None:
    assert in_a_row(noted(*outcomes)) == expected


def test_a_process_that_lives_and_lets_an_audit_wait_is_slow_and_not_silent() -> None:
    health = noted(*[Code.DEADLINE_EXCEEDED] * WINDOW_AUDITS, lives=True)

    assert in_a_row(health) == (0, 0, 0)
    assert health.message().sustained_p99_ms == 1_000
    assert not health.worrying


def test_slow_is_what_was_slow_in_every_audit_of_the_window() -> None:
    slow = [answered(p99_ms=900.0)] * (WINDOW_AUDITS - 1)

    assert noted(*slow).message().sustained_p99_ms == 0
    message = noted(answered(p99_ms=2.0), *slow).message()
    assert (message.sustained_p99_ms, message.p99_ms) == (2.0, 900.0)
    assert noted(answered(p99_ms=2.0), *slow, answered(p99_ms=800.0)).message().sustained_p99_ms == 800.0


def test_nothing_is_said_of_a_process_that_knows_no_audits() -> None:
    with pytest.raises(Unsupported):
        noted(Code.UNIMPLEMENTED, lives=True)
