"""Lines to one replica: how they are opened and kept, and what a replica that breaks the rules is worth."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import uvloop
from google.rpc import code_pb2

from gateway import replica_client
from gateway.balancer import Balancer, Link
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    InternalError,
    InvalidRequest,
    ReplicaLost,
    ReplyFull,
    Unavailable,
)
from gateway.lanes import Lane
from gateway.metrics import Metrics
from gateway.polling import Poller
from gateway.replica_client import FRAME_HEAD, FRAMES_SUFFIX, IDLE_LINES_MAX, AnswerBatch, Outcome, ReplicaClient
from gateway.routes import Replica as RouteReplica
from gateway.routes import parse_route
from gateway.settings import Settings
from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas import frames, framing
from replicas.calls import Calls
from replicas.settings import HostSettings
from tests.gateway.harness import route, route_version

SECONDS = 20.0
GREETING = bytes(4)


class Replica:
    """Listens at `address`; answers each frame with what `say` makes of it, or hangs up when that is None."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/r1.sock"
        self._path = f"{folder}/r1.sock{FRAMES_SUFFIX}"
        self.say: Callable[[replica_pb2.Question], bytes | None] = answered
        self.greeting: bytes = GREETING
        self.asked = asyncio.Event()
        self.connections = 0
        self.open = 0
        self.delay_seconds = 0.0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def listens(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._converse, self._path)

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        self._server = None
        for writer in self._writers:
            writer.close()
        os.unlink(self._path)

    async def has_open(self, connections: int) -> None:
        """Waits until so many are open."""
        async with asyncio.timeout(SECONDS):
            while self.open != connections:  # noqa: ASYNC110 (what is waited for is a count)
                await asyncio.sleep(0.005)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        writer.write(self.greeting)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                self.asked.set()
                said = self.say(replica_pb2.Question.FromString(await reader.readexactly(size)))
                await asyncio.sleep(self.delay_seconds)
                if said is None:
                    break
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The gateway hung up, as some of these tests want it to.
        finally:
            self.open -= 1
            writer.close()


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def reply(**fields: object) -> bytes:
    return framed(replica_pb2.Reply(**fields).SerializeToString())


def answered(question: replica_pb2.Question) -> bytes:
    if question.HasField("get_items"):
        return reply(items=question.get_items)
    answers = [replica_pb2.Answer(response=raw) for raw in question.answer.requests]
    return reply(answer=replica_pb2.AnswerResponse(answers=answers))


def refused(code: int, reason: str = "WHY") -> Callable[[replica_pb2.Question], bytes]:
    error = recall_pb2.RecallError(code=code, reason=reason, message="why", field="top_k")
    return lambda _: reply(error=error)


@asynccontextmanager
async def listening() -> AsyncIterator[Replica]:
    with tempfile.TemporaryDirectory(prefix="rl-") as name:
        replica = Replica(Path(name))
        await replica.start()
        yield replica
        if replica.listens:
            await replica.stop()


@asynccontextmanager
async def asking(replica: Replica) -> AsyncIterator[ReplicaClient]:
    """Whatever befalls it, it ends with few lines, all of them idle, and after its close with none."""
    client = ReplicaClient(replica.address, 7, Poller(0.0))
    yield client
    assert client._lines == set(client._idle)
    assert len(client._idle) <= IDLE_LINES_MAX
    await replica.has_open(len(client._idle))
    await client.close()
    assert (client._lines, client._idle) == (set(), [])
    await replica.has_open(0)


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    async with listening() as replica:
        yield replica


@pytest.fixture
async def client(replica: Replica) -> AsyncIterator[ReplicaClient]:
    async with asking(replica) as client:
        yield client


async def ask(client: ReplicaClient, *payloads: bytes, seconds: float = SECONDS) -> list[Outcome]:
    now = time.monotonic()
    batch = AnswerBatch(now, Lane.QUICK)
    batch.add(list(payloads or (b"query",)), now + seconds, now)
    return await client.answer(batch, timeout_seconds=seconds)


async def test_one_connection_is_kept_and_others_are_opened_for_calls_at_once(
    replica: Replica, client: ReplicaClient
) -> None:
    for _ in range(5):
        assert await ask(client, b"a", b"b") == [b"a", b"b"]
    assert replica.connections == 1
    replica.delay_seconds = 0.05
    assert await asyncio.gather(*(ask(client) for _ in range(3))) == [[b"query"]] * 3
    assert replica.connections == 3


async def test_lines_of_a_rush_are_given_back_but_for_a_few(replica: Replica, client: ReplicaClient) -> None:
    replica.delay_seconds = 0.05
    await asyncio.gather(*(ask(client) for _ in range(8)))
    assert replica.connections == 8
    await replica.has_open(IDLE_LINES_MAX)


async def test_every_question_says_how_long_somebody_waits_for_its_reply(
    replica: Replica, client: ReplicaClient
) -> None:
    told_ms: list[int] = []

    def note(question: replica_pb2.Question) -> bytes:
        told_ms.append(question.deadline_ms)
        return answered(question)

    replica.say = note
    await ask(client, seconds=SECONDS)
    await client.get_items(b"items", Lane.QUICK, time.monotonic() + SECONDS / 2)
    assert told_ms[0] == SECONDS * 1_000
    assert 0 < told_ms[1] <= SECONDS * 500


async def test_a_lone_question_is_waited_for_awake(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cores.Cores.are_free", lambda _cores, _now: True)
    poller, rounds = Poller(SECONDS), 0
    go_round = poller._go_round

    def counted() -> None:
        nonlocal rounds
        rounds += 1
        go_round()

    monkeypatch.setattr(poller, "_go_round", counted)
    client = ReplicaClient(replica.address, 7, poller)
    replica.delay_seconds = 0.1
    await ask(client)
    asked_once = rounds
    assert asked_once > 10
    await client.get_items(b"items", Lane.QUICK, time.monotonic() + SECONDS)
    assert rounds > asked_once + 10
    await client.close()


async def test_every_question_names_its_lane(replica: Replica, client: ReplicaClient) -> None:
    lanes: list[int] = []

    def note(question: replica_pb2.Question) -> bytes:
        lanes.append(question.lane)
        return answered(question)

    replica.say = note
    now = time.monotonic()
    for lane in (Lane.QUICK, Lane.COSTLY):
        batch = AnswerBatch(now, lane)
        batch.add([b"query"], now + SECONDS, now)
        await client.answer(batch, timeout_seconds=SECONDS)
        await client.get_items(b"items", lane, now + SECONDS)
    assert lanes == [replica_pb2.QUICK] * 2 + [replica_pb2.COSTLY] * 2


async def test_items_pass_through(client: ReplicaClient) -> None:
    assert await client.get_items(b"as it came", Lane.QUICK, time.monotonic() + SECONDS) == b"as it came"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (code_pb2.FAILED_PRECONDITION, ReplicaLost),
        (code_pb2.UNAVAILABLE, ReplicaLost),
        # The frame around the queries is ours.
        (code_pb2.INVALID_ARGUMENT, InternalError),
        (code_pb2.INTERNAL, InternalError),
    ],
)
async def test_what_a_replica_says_of_the_whole_call(
    replica: Replica, client: ReplicaClient, code: int, kind: type[GatewayError]
) -> None:
    replica.say = refused(code)
    with pytest.raises(kind):
        await ask(client)
    replica.say = answered
    assert await ask(client) == [b"query"]
    assert replica.connections == 1


def told(*reasons: str) -> Callable[[replica_pb2.Question], bytes]:
    """A reply with an answer for each reason that is empty, else with the error that a full reply has for it."""
    errors = [recall_pb2.RecallError(code=code_pb2.RESOURCE_EXHAUSTED, reason=reason) for reason in reasons]
    answers = [
        replica_pb2.Answer(error=error) if error.reason else replica_pb2.Answer(response=b"answer") for error in errors
    ]
    return lambda _: reply(answer=replica_pb2.AnswerResponse(answers=answers))


@pytest.mark.parametrize("reason", ["REPLY_FULL", "ANSWER_TOO_LARGE"], ids=["replicas of today", "older replicas"])
async def test_an_answer_that_found_no_room_beside_others_is_to_be_asked_for_again(
    replica: Replica, client: ReplicaClient, reason: str
) -> None:
    replica.say = told("", reason, "")
    first, full, last = await ask(client, b"a", b"b", b"c")
    assert (first, last) == (b"answer", b"answer")
    assert isinstance(full, ReplyFull)
    assert full.room == 2


async def test_what_an_older_replica_has_no_room_for_alone_is_not_to_be_asked_for_again(
    replica: Replica, client: ReplicaClient
) -> None:
    replica.say = told("ANSWER_TOO_LARGE")
    [too_large] = await ask(client)
    assert isinstance(too_large, InvalidRequest)
    assert (too_large.field, too_large.reason, too_large.retry_after_seconds) == ("top_k", "ANSWER_TOO_LARGE", 0)
    replica.say = refused(code_pb2.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE")
    with pytest.raises(InvalidRequest) as heard:
        await client.get_items(b"", Lane.QUICK, time.monotonic() + SECONDS)
    assert (heard.value.field, heard.value.reason) == ("items", "ANSWER_TOO_LARGE")


async def test_what_is_wrong_with_a_request_for_items_its_caller_hears(replica: Replica, client: ReplicaClient) -> None:
    replica.say = refused(code_pb2.INVALID_ARGUMENT)
    with pytest.raises(InvalidRequest) as refusal:
        await client.get_items(b"items", Lane.QUICK, time.monotonic() + SECONDS)
    assert (refusal.value.reason, refusal.value.field) == ("WHY", "top_k")


async def test_a_replica_too_old_for_the_question_is_one_that_another_may_stand_in_for(
    replica: Replica, client: ReplicaClient
) -> None:
    assert frames.reply_to(b"", cast(Calls, None), lambda: True).error.reason == replica_client.QUESTION_UNKNOWN
    replica.say = refused(code_pb2.INVALID_ARGUMENT, "QUESTION_UNKNOWN")
    with pytest.raises(ReplicaLost):
        await ask(client)
    with pytest.raises(ReplicaLost):
        await client.get_items(b"items", Lane.QUICK, time.monotonic() + SECONDS)


BROKEN: dict[str, Callable[[replica_pb2.Question], bytes | None]] = {
    "unreadable": lambda _: framed(b"\xff\xff\xff"),
    "one answer too few": lambda _: reply(answer=replica_pb2.AnswerResponse()),
    "nothing": lambda _: reply(),
    "items instead of answers": lambda _: reply(items=b"items"),
    "two frames for one": lambda question: answered(question) * 2,
    "a frame without end": lambda _: (2**31).to_bytes(4, "big"),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_reply_that_breaks_the_rules_is_our_fault_and_never_anothers_answer(
    replica: Replica, client: ReplicaClient, broken: str
) -> None:
    replica.say = BROKEN[broken]
    with pytest.raises(InternalError):
        await ask(client)
    replica.say = answered
    assert await ask(client, b"mine") == [b"mine"]


async def test_a_replica_that_hangs_up_is_lost(replica: Replica, client: ReplicaClient) -> None:
    replica.say = lambda _: None
    with pytest.raises(ReplicaLost):
        await ask(client)


async def test_a_reply_that_comes_too_late_is_never_taken_for_the_next(replica: Replica, client: ReplicaClient) -> None:
    replica.delay_seconds = 0.2
    with pytest.raises(DeadlineExceeded):
        await ask(client, b"late", seconds=0.05)
    replica.delay_seconds = 0.0
    await asyncio.sleep(0.3)
    assert await ask(client, b"mine") == [b"mine"]
    assert replica.connections == 2


async def test_who_waits_when_the_lines_are_closed_hears_that_the_replica_is_lost(
    replica: Replica, client: ReplicaClient
) -> None:
    replica.delay_seconds = 0.3
    asked = asyncio.create_task(ask(client))
    await asyncio.wait_for(replica.asked.wait(), SECONDS)
    await client.close()
    with pytest.raises(ReplicaLost):
        await asked


async def test_a_replica_that_died_between_two_calls_is_lost_until_it_is_back(
    replica: Replica, client: ReplicaClient
) -> None:
    await ask(client)
    await replica.stop()
    with pytest.raises(ReplicaLost):
        await ask(client)
    waiting = [asyncio.create_task(client.reconnected(SECONDS)) for _ in range(50)]
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in waiting)
    await replica.start()
    await asyncio.gather(*waiting)
    assert await ask(client) == [b"query"]
    assert replica.connections == 2


async def test_patience_ends(replica: Replica, client: ReplicaClient) -> None:
    await replica.stop()
    with pytest.raises(Unavailable, match="try again"):
        await client.reconnected(0.05)


async def test_items_are_not_answers(replica: Replica, client: ReplicaClient) -> None:
    for said in (reply(), reply(answer=replica_pb2.AnswerResponse())):
        replica.say = lambda _, said=said: said  # type: ignore[misc]
        with pytest.raises(InternalError):
            await client.get_items(b"items", Lane.QUICK, time.monotonic() + SECONDS)


GREETINGS = {
    "none": b"",
    "half of one": GREETING[:2],
    "one that says something": framed(b"hello"),
    "one without end": framed(b"")[:3] + b"\x09",
    "two": GREETING * 2,
    "another protocol": b"HTTP/1.1 400 Bad Request",
}


@pytest.mark.parametrize("greeting", GREETINGS)
async def test_a_replica_that_takes_connections_and_does_not_greet_is_lost(
    replica: Replica, client: ReplicaClient, monkeypatch: pytest.MonkeyPatch, greeting: str
) -> None:
    monkeypatch.setattr(replica_client, "CONNECT_SECONDS_MAX", 0.1)
    replica.greeting = GREETINGS[greeting]
    with pytest.raises(ReplicaLost):
        await ask(client)
    await replica.has_open(0)
    replica.greeting = GREETING
    assert await ask(client) == [b"query"]


@pytest.mark.parametrize("seconds", [0.15, 0.6, SECONDS])
async def test_a_frozen_replica_leaves_time_to_ask_another_and_is_ejected(
    replica: Replica, client: ReplicaClient, seconds: float
) -> None:
    replica.greeting = b""
    started = time.monotonic()
    with pytest.raises(ReplicaLost):
        await ask(client, seconds=seconds)
    assert time.monotonic() - started < max(seconds, 1.0) * 0.9
    link = Link(RouteReplica("r1", replica.address, 7), Metrics(), Poller(0.0))
    with pytest.raises(ReplicaLost):
        await link.ask([b"query"], 1.0, Lane.QUICK, time.monotonic() + seconds)
    assert link.ejected_until > 0
    await link.close()


async def cancelled(task: asyncio.Task[list[Outcome]]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Gateways run on uvloop, which drops a connection that is cancelled in its own way.
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("rounds", range(6))
def test_a_cancel_leaves_no_line_behind_however_far_it_has_come(
    new_loop: Callable[[], asyncio.AbstractEventLoop], rounds: int
) -> None:
    async def scenario() -> None:
        async with listening() as replica, asking(replica) as client:
            replica.delay_seconds = 0.01
            for _ in range(20):
                task = asyncio.create_task(ask(client))
                for _ in range(rounds):
                    await asyncio.sleep(0)
                await cancelled(task)
            assert client._lines == set()
            await replica.has_open(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario())


async def test_a_cancel_between_the_greeting_and_who_waits_for_it_leaves_no_line_behind(
    replica: Replica, client: ReplicaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = replica_client._Line._heard

    def heard_and_cancelled(line: replica_client._Line, reply: asyncio.Future[bytes]) -> None:
        heard(line, reply)
        task.cancel()

    monkeypatch.setattr(replica_client._Line, "_heard", heard_and_cancelled)
    task = asyncio.create_task(ask(client))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client._lines == set()


async def test_who_waits_for_a_replica_that_stands_opens_no_line(replica: Replica, client: ReplicaClient) -> None:
    await ask(client)
    await asyncio.gather(*(client.reconnected(SECONDS) for _ in range(10)))
    assert replica.connections == 1


async def test_who_comes_late_to_a_try_that_is_given_up_waits_on(
    replica: Replica, client: ReplicaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_client, "RECONNECT_SECONDS_MAX", 0.2)
    await replica.stop()
    with pytest.raises(Unavailable):
        await client.reconnected(0.1)
    late = asyncio.create_task(client.reconnected(SECONDS))
    await asyncio.sleep(0.4)
    assert not late.done()
    await replica.start()
    await late


async def test_one_line_that_the_replica_ended_takes_the_idle_ones_with_it(
    replica: Replica, client: ReplicaClient
) -> None:
    replica.delay_seconds = 0.02
    await asyncio.gather(ask(client), ask(client))
    assert len(client._idle) == 2
    replica.say = lambda _: None
    with pytest.raises(ReplicaLost):
        await ask(client)
    assert client._lines == set()


async def test_an_idle_line_that_the_replica_ends_is_forgotten(replica: Replica, client: ReplicaClient) -> None:
    await ask(client)
    await replica.stop()
    await replica.has_open(0)
    await asyncio.sleep(0.05)
    assert (client._lines, client._idle) == (set(), [])


async def test_a_closed_client_asks_nobody(replica: Replica, client: ReplicaClient) -> None:
    await ask(client)
    await client.close()
    with pytest.raises(ReplicaLost):
        await ask(client)
    with pytest.raises(Unavailable):
        await client.reconnected(SECONDS)
    client.connect_soon()
    await asyncio.sleep(0.05)
    assert replica.connections == 1


async def test_a_close_ends_the_tries_to_connect(replica: Replica, client: ReplicaClient) -> None:
    await replica.stop()
    waiting = asyncio.create_task(client.reconnected(SECONDS))
    await asyncio.sleep(0.1)
    await client.close()
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable):
            await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("rounds", range(6))
async def test_a_close_while_a_line_is_opened_leaves_none(replica: Replica, client: ReplicaClient, rounds: int) -> None:
    replica.greeting = b""
    asked = asyncio.create_task(ask(client))
    for _ in range(rounds):
        await asyncio.sleep(0)
    await client.close()
    with pytest.raises(ReplicaLost):
        await asked
    assert client._lines == set()


async def test_a_replica_that_failed_is_connected_to_again_before_anybody_asks(replica: Replica) -> None:
    await replica.stop()
    link = Link(RouteReplica("r1", replica.address, 7), Metrics(), Poller(0.0))
    with pytest.raises(ReplicaLost):
        await link.ask([b"query"], 1.0, Lane.QUICK, time.monotonic() + SECONDS)
    await replica.start()
    await replica.has_open(1)
    await link.close()


async def test_a_deadline_that_has_passed_takes_no_line(replica: Replica, client: ReplicaClient) -> None:
    with pytest.raises(DeadlineExceeded):
        await client.get_items(b"items", Lane.QUICK, time.monotonic() - 0.001)
    with pytest.raises(DeadlineExceeded):
        await ask(client, seconds=0.0)
    assert replica.connections == 0


async def test_what_fits_no_frame_is_refused_before_any_replica_is_asked_and_harms_none(
    replica: Replica, client: ReplicaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_client, "FRAME_BYTES_MAX", 1_000)
    with pytest.raises(InvalidRequest, match="at most 1000"):
        await ask(client, b"x" * 1_000)
    link = Link(RouteReplica("r1", replica.address, 7), Metrics(), Poller(0.0))
    with pytest.raises(InvalidRequest):
        await link.ask([b"x" * 1_000], 1.0, Lane.QUICK, time.monotonic() + SECONDS)
    assert link.ejected_until == 0
    assert replica.connections == 0
    await link.close()


async def test_a_line_to_a_new_replica_stands_before_the_first_question(replica: Replica) -> None:
    balancer = Balancer(Metrics(), Poller(0.0), deadline_seconds_max=1.0)
    to_it = parse_route(route(route_version(7, replica.address)).SerializeToString())
    balancer.follow(None, to_it)
    await replica.has_open(1)
    balancer.follow(to_it, to_it)
    await asyncio.sleep(0.05)
    assert replica.connections == 1
    await balancer.close()


def test_gateway_and_replica_speak_of_the_same_frames() -> None:
    assert FRAMES_SUFFIX == framing.FRAMES_SUFFIX
    assert FRAME_HEAD.format == framing.HEAD.format
    assert framing.GREETING == GREETING == FRAME_HEAD.pack(0)
    assert framing.frames_path("unix:/a/b.sock") == ReplicaClient("unix:/a/b.sock", 1, Poller(0.0))._path
    limits = HostSettings.model_fields
    assert limits["poll_us_max"].default == Settings.model_fields["poll_us_max"].default
    assert limits["replica_request_bytes_max"].default == replica_client.FRAME_BYTES_MAX
    assert limits["replica_answer_bytes_max"].default <= replica_client.FRAME_BYTES_MAX
