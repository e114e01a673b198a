"""What audits show of a process, counted in rows."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc
import pytest

from recallpb.internal.v1 import documents_pb2
from replicas import health as module
from replicas.client import STATUS_TRAILER, ReplicaClient
from replicas.framing import GREETING, frames_path
from replicas.health import REFUSED_AUDITS_MAX, REPORT_GAP_SECONDS_MAX, WINDOW_AUDITS, Health, Unsupported

Code = grpc.StatusCode


def answered(*, ok: bool = True, p99_ms: float = 1.0) -> documents_pb2.OrderResult:
    agreement = 1.0 if ok else 0.3
    return documents_pb2.OrderResult(ok=ok, agreement=agreement, version=4, items=300, p99_ms=p99_ms)


def noted(*outcomes: documents_pb2.OrderResult | grpc.StatusCode, lives: bool = False, greets: bool = True) -> Health:
    health = Health()
    for outcome in outcomes:
        health.note(outcome, lives=lives, greets=greets, seconds_max=1.0)
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


def test_a_server_that_its_engine_asks_and_that_is_away_is_no_fault_of_the_process() -> None:
    health = noted(answered())
    for _ in range(2):
        health.note(Code.UNAVAILABLE, said="the instance blue is silent", lives=True, greets=True, seconds_max=1.0)
    message = health.message()
    assert (message.away_in_a_row, message.error) == (2, "the instance blue is silent")
    assert (message.p99_ms, in_a_row(health), health.worrying) == (0, (0, 0, 0), True)
    health.note(answered(), lives=True, greets=True, seconds_max=1.0)
    message = health.message()
    assert (message.away_in_a_row, message.error, in_a_row(health)) == (0, "", (1, 0, 0))


def test_the_cause_of_an_internal_error_is_told_where_the_replica_says_it() -> None:
    health = Health()
    health.note(Code.INTERNAL, said="the collection is gone", lives=True, greets=True, seconds_max=1.0)
    assert health.message().error == "a known query was answered with an internal error: the collection is gone"


def test_a_process_that_lives_and_lets_an_audit_wait_is_slow_and_not_silent() -> None:
    health = noted(*[Code.DEADLINE_EXCEEDED] * WINDOW_AUDITS, lives=True)

    assert in_a_row(health) == (0, 0, 0)
    assert health.message().sustained_p99_ms == 1_000
    assert health.worrying


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNKNOWN])
def test_a_busy_process_that_refuses_audits_is_not_slow(code: grpc.StatusCode) -> None:
    before = [answered(p99_ms=3.0)] * WINDOW_AUDITS
    health = noted(*before, *[code] * WINDOW_AUDITS, lives=True)

    assert in_a_row(health) == (WINDOW_AUDITS, 0, 0)
    assert health.message().p99_ms == 3.0
    assert health.message().age_seconds < 1, "it was asked, and said that it lives"


def test_a_process_that_refuses_every_audit_for_a_minute_does_not_get_on() -> None:
    minute = [Code.RESOURCE_EXHAUSTED] * REFUSED_AUDITS_MAX

    assert noted(*minute, answered(p99_ms=3.0), *minute, lives=True).message().sustained_p99_ms == 0
    wedged = noted(*minute, *[Code.RESOURCE_EXHAUSTED] * WINDOW_AUDITS, lives=True).message()
    assert (wedged.sustained_p99_ms, wedged.silent_in_a_row, wedged.wrong_in_a_row) == (1_000, 0, 0)


def test_a_refusal_between_two_wrong_answers_does_not_hide_them() -> None:
    assert in_a_row(noted(answered(ok=False), Code.RESOURCE_EXHAUSTED, answered(ok=False))) == (0, 2, 0)


class Broken:
    """A client whose every call breaks with INTERNAL, and this trailing metadata."""

    def __init__(self, *trailers: tuple[str, bytes]) -> None:
        self._error = grpc.aio.AioRpcError(Code.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers))

    async def execute(self, *_: object) -> None:
        raise self._error

    async def describe(self, _: float) -> None:
        return

    async def greets(self, _: float) -> bool:
        return True


@pytest.mark.parametrize(("trailers", "wrong"), [([(STATUS_TRAILER, b"status")], 1), ([], 0)])
def test_internal_is_as_bad_as_wrong_when_the_replica_says_so_and_not_when_its_connection_breaks(
    trailers: list[tuple[str, bytes]], wrong: int
) -> None:
    health = Health()
    asyncio.run(health.ask(cast(ReplicaClient, Broken(*trailers)), 1.0))

    assert in_a_row(health) == (0, wrong, 0)


def test_slow_is_what_was_slow_in_every_audit_of_the_window() -> None:
    slow = [answered(p99_ms=250.0)] * (WINDOW_AUDITS - 1)

    assert noted(*slow).message().sustained_p99_ms == 0
    message = noted(answered(p99_ms=2.0), *slow).message()
    assert (message.sustained_p99_ms, message.p99_ms) == (2.0, 250.0)
    assert noted(answered(p99_ms=2.0), *slow, answered(p99_ms=200.0)).message().sustained_p99_ms == 200.0


def test_an_agent_that_was_stopped_for_a_while_has_not_neglected_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    health = noted(answered())
    clock.now = 30.0
    assert health.message().age_seconds == REPORT_GAP_SECONDS_MAX
    health.note(answered(), lives=True, greets=True, seconds_max=1.0)
    for clock.now in (31.0, 32.0, 33.0, 34.0):
        age_seconds = health.message().age_seconds
    assert age_seconds == 4.0, "it reports, and does not audit"


def test_nothing_is_said_of_a_process_that_knows_no_audits() -> None:
    with pytest.raises(Unsupported):
        noted(Code.UNIMPLEMENTED, lives=True)


@pytest.mark.parametrize("outcome", [answered(), Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.DEADLINE_EXCEEDED])
def test_a_process_that_greets_no_gateway_is_silent_whatever_it_tells_the_agent(
    outcome: documents_pb2.OrderResult | grpc.StatusCode,
) -> None:
    assert in_a_row(noted(answered(), lives=True)) == (1, 0, 0)
    assert in_a_row(noted(outcome, outcome, lives=True, greets=False)) == (0, 0, 2)


class Answering:
    """A process whose gRPC side is well."""

    def __init__(self, address: str) -> None:
        self._client = ReplicaClient(address)

    async def execute(self, *_: object) -> documents_pb2.OrderResult:
        return answered()

    async def describe(self, _: float) -> None:
        return

    async def greets(self, seconds_max: float) -> bool:
        async with self._client as client:
            return await client.greets(seconds_max)


Door = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def first_words(*words: bytes) -> Door:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for word in words:
            writer.write(word)
            await writer.drain()
        writer.close()

    return serve


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("door", "silent"),
    [
        (first_words(GREETING), 0),
        (first_words(GREETING[:1], GREETING[1:]), 0),
        # It has connections enough.
        (first_words(), 0),
        (first_words(b"HTTP"), 1),
        (say_nothing, 1),
        (None, 1),
    ],
)
async def test_an_audit_looks_through_the_door_that_gateways_use(door: Door | None, silent: int) -> None:
    with tempfile.TemporaryDirectory(prefix="recall-door-") as folder:
        address = f"unix:{Path(folder)}/r1.sock"
        server = door and await asyncio.start_unix_server(door, frames_path(address))
        health = Health()
        await health.ask(cast(ReplicaClient, Answering(address)), 0.3)
        if server:
            server.close()

    assert in_a_row(health) == (1 - silent, 0, silent)
