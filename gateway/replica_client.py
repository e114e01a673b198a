"""Connections to one replica: the gateway's edge towards the inside. The only module that speaks to replicas.

Questions and replies travel in frames (see replica.proto) and not as gRPC calls: between two processes of ours gRPC
took a good tenth of all the CPU that a query costs (docs/adr/0008). A connection carries one question at a time, so
that there are as many as calls under way; few of them stand idle, because a replica has few places for all gateways.
A replica that is back is found by the next try to connect.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import cast

from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from gateway import statuses
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    InternalError,
    InvalidRequest,
    ReplicaLost,
    ReplyFull,
    ResourceExhausted,
    Unavailable,
)
from gateway.lanes import Lane
from gateway.polling import Poller
from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2

UNIX = "unix:"
FRAMES_SUFFIX = ".q"
FRAME_HEAD = struct.Struct(">I")
# Either way. What a replica reads has the same limit unless it was set lower; what it writes a smaller one.
FRAME_BYTES_MAX = 128 * 2**20
# As many as calls that are under way all the time, of both lanes; others were opened for a rush.
IDLE_LINES_MAX = 4
# Until a replica has greeted. A thread that is born among busy ones greets within some hundredths of a second; half a
# second leaves a busy machine its hiccups, and of a shorter deadline most is left to ask another replica.
CONNECT_SECONDS_MAX = 0.5
CONNECT_SHARE_MAX = 1 / 3
RECONNECT_EVERY_SECONDS = 0.05
# A replica that does not come back within so long is asked for again by the next caller who waits for it.
RECONNECT_SECONDS_MAX = 10.0

Outcome = bytes | GatewayError

# Errors of a whole call that mean: this replica cannot answer now, another one may.
LOST = frozenset({code_pb2.UNAVAILABLE, code_pb2.FAILED_PRECONDITION})
# The replica is older than this gateway, and its successor is on its way.
QUESTION_UNKNOWN = "QUESTION_UNKNOWN"
# An answer found no room in the reply. Older replicas say ANSWER_TOO_LARGE, as of one that never finds any.
REPLY_FULL, ANSWER_TOO_LARGE = "REPLY_FULL", "ANSWER_TOO_LARGE"
# The kind of reply that is due to each kind of question.
REPLIES = {"answer": "answer", "get_items": "items"}
LANES = {Lane.QUICK: replica_pb2.QUICK, Lane.COSTLY: replica_pb2.COSTLY}


class AnswerBatch:
    """The queries of one call while they are put together. `now` is of time.monotonic()."""

    __slots__ = ("_deadline", "_deadlines_ms", "_now", "_payloads", "_queued_us", "lane")

    def __init__(self, now: float, lane: Lane) -> None:
        self.lane = lane
        self._now = now
        self._deadline = now
        self._payloads: list[bytes] = []
        self._deadlines_ms: list[int] = []
        self._queued_us: list[int] = []

    def __len__(self) -> int:
        return len(self._payloads)

    def add(self, payloads: list[bytes], deadline: float, enqueued_at: float) -> None:
        self._payloads += payloads
        # At least 1: a 0 would mean no deadline.
        self._deadlines_ms += [max(1, int((deadline - self._now) * 1e3))] * len(payloads)
        self._queued_us += [int((self._now - enqueued_at) * 1e6)] * len(payloads)
        self._deadline = max(self._deadline, deadline)

    def seconds_left(self) -> float:
        """Until the latest deadline."""
        return self._deadline - self._now

    def question(self, version: int) -> replica_pb2.Question:
        """To a replica of this version."""
        question = replica_pb2.Question(lane=LANES[self.lane])
        # In place: a message that is given to another one is copied, by way of its bytes.
        asked = question.answer
        asked.version = version
        asked.requests.extend(self._payloads)
        asked.deadlines_ms.extend(self._deadlines_ms)
        asked.queued_us.extend(self._queued_us)
        return question


class ReplicaClient:
    """Belongs to the event loop it was made in. Opens connections when they are needed and keeps a few."""

    def __init__(self, address: str, version: int, poller: Poller) -> None:
        self._path = address.removeprefix(UNIX) + FRAMES_SUFFIX
        self._version = version
        self._poller = poller
        self._idle: list[_Line] = []
        self._lines: set[_Line] = set()
        self._connecting: asyncio.Task[bool] | None = None
        self._closed = False

    async def answer(self, batch: AnswerBatch, *, timeout_seconds: float) -> list[Outcome]:
        """An outcome for each query of the batch; ReplyFull is one that is to be asked again.

        Raises for all ReplicaLost, DeadlineExceeded, InternalError, or InvalidRequest when they fit no frame.
        """
        answers = (await self._ask(batch.question(self._version), timeout_seconds)).answer.answers
        if len(answers) != len(batch):
            raise InternalError(f"{len(answers)} answers to {len(batch)} queries")
        outcomes = [answer.response or _error_of(answer.error) for answer in answers]
        return _told_apart(outcomes) if any(map(_found_no_room, outcomes)) else outcomes

    async def get_items(self, payload: bytes, lane: Lane, deadline: float) -> bytes:
        """A serialised GetItemsResponse. Raises what the replica says of the request, or as `answer`."""
        question = replica_pb2.Question(get_items=payload, lane=LANES[lane])
        return (await self._ask(question, deadline - time.monotonic())).items

    def connect_soon(self) -> None:
        """Has a line opened in the background if there is none. Nobody hears when that fails: the first query will."""
        if not self._lines and not self._closed:
            self._connect_until_it_stands()

    async def reconnected(self, patience_seconds: float) -> None:
        """Waits until a line stands, which is at once when one is idle. Raises Unavailable when that takes longer."""
        until = time.monotonic() + patience_seconds
        while not self._idle:
            seconds_left = until - time.monotonic()
            if self._closed or seconds_left <= 0:
                raise Unavailable("REPLICA_UNAVAILABLE", "no replica of the version answers just now; try again")
            # It is shared, and may be about to give up: who comes late starts the next one.
            connecting = self._connect_until_it_stands()
            done, _ = await asyncio.wait({connecting}, timeout=seconds_left)
            if done and not connecting.cancelled() and connecting.result():
                return

    async def close(self) -> None:
        """Ends all connections for good; who waits for a reply, or asks later, hears ReplicaLost."""
        self._closed = True
        for line in list(self._lines):
            line.close()
        if self._connecting:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})

    async def _ask(self, question: replica_pb2.Question, timeout_seconds: float) -> replica_pb2.Reply:
        """The reply, which is no error. A line whose reply did not come is given up: it may come yet."""
        if timeout_seconds <= 0:
            raise DeadlineExceeded
        # At least 1: a 0 would mean no deadline.
        question.deadline_ms = max(1, int(timeout_seconds * 1e3))
        payload = question.SerializeToString()
        if len(payload) > FRAME_BYTES_MAX:
            message = f"the request takes {len(payload)} bytes on its way; at most {FRAME_BYTES_MAX} can travel"
            raise InvalidRequest("", "REQUEST_TOO_LARGE", message)
        until = asyncio.get_running_loop().time() + timeout_seconds
        line = await self._take_line(min(CONNECT_SECONDS_MAX, timeout_seconds * CONNECT_SHARE_MAX))
        try:
            with self._poller:
                raw = await line.ask(payload, until)
        except ReplicaLost:
            # It has ended, as a rule, and the kernel tells of one connection after the other.
            self._close_idle()
            raise
        finally:
            self._put_back(line)
        return _read(raw, question.WhichOneof("question"))

    async def _take_line(self, seconds_max: float) -> _Line:
        if self._closed:
            raise ReplicaLost
        return self._idle.pop() if self._idle else await self._connect(seconds_max)

    def _put_back(self, line: _Line) -> None:
        if line.silent and len(self._idle) < IDLE_LINES_MAX:
            self._idle.append(line)
        else:
            line.close()

    async def _connect(self, seconds_max: float) -> _Line:
        """A new connection. Raises ReplicaLost when nobody takes it and greets in that time."""
        loop = asyncio.get_running_loop()
        line = _Line(loop, self._forget)
        self._lines.add(line)
        try:
            async with asyncio.timeout(seconds_max):
                await loop.create_unix_connection(lambda: line, self._path)
                await line.greeted()
        except OSError as error:  # A TimeoutError is one.
            line.close()
            raise ReplicaLost from error
        except BaseException:
            # Even if it has been greeted meanwhile: nobody is going to hold it.
            line.close()
            raise
        return line

    def _connect_until_it_stands(self) -> asyncio.Task[bool]:
        """The task that tries, one for all who wait."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connects())
        return self._connecting

    async def _connects(self) -> bool:
        """Whether a line stands at last."""
        give_up_at = time.monotonic() + RECONNECT_SECONDS_MAX
        while time.monotonic() < give_up_at:
            try:
                self._put_back(await self._connect(CONNECT_SECONDS_MAX))
            except ReplicaLost:
                await asyncio.sleep(RECONNECT_EVERY_SECONDS)
            else:
                return True
        return False

    def _close_idle(self) -> None:
        for line in list(self._idle):
            line.close()

    def _forget(self, line: _Line) -> None:
        self._lines.discard(line)
        if line in self._idle:
            self._idle.remove(line)


class _Line(asyncio.Protocol):
    """One connection: a frame goes out, a frame comes back. `on_end` hears when it is lost or closed.

    The replica greets with an empty frame: that the kernel has taken a connection says nothing of a process that has
    just been killed, or is frozen.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[_Line], None]) -> None:
        self._loop = loop
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._reply: asyncio.Future[bytes] | None = loop.create_future()
        self._greeting = self._reply

    @property
    def silent(self) -> bool:
        """Whether it stands, and nothing is under way on it."""
        return self._transport is not None and self._reply is None

    async def greeted(self) -> None:
        """Raises ReplicaLost, also when what comes is no greeting."""
        await self._greeting

    async def ask(self, payload: bytes, until: float) -> bytes:
        """The payload of the frame that comes back; `until` is of the loop's clock.

        Raises ReplicaLost, DeadlineExceeded, InternalError.
        """
        if self._transport is None:
            raise ReplicaLost
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._reply = reply
        self._transport.write(FRAME_HEAD.pack(len(payload)) + payload)
        timer = self._loop.call_at(until, _give_up, reply)
        try:
            return await reply
        finally:
            timer.cancel()

    def close(self, error: GatewayError | None = None) -> None:
        """Who waits for a reply hears `error`; without one, that the replica is lost."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error or ReplicaLost())
            self._reply.exception()  # Nobody need wait for it, and asyncio would complain of one that nobody heard.
        self._on_end(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < FRAME_HEAD.size:
            return
        [size] = FRAME_HEAD.unpack_from(self._received)
        missing = FRAME_HEAD.size + size - len(self._received)
        greets = self._reply is self._greeting
        if greets and (size or missing < 0):
            self.close()
        elif self._reply is None or size > FRAME_BYTES_MAX or missing < 0:
            # Of a line that is out of step, every later reply would be taken for another question's.
            self.close(InternalError(f"a frame of {size} bytes came where less was due"))
        elif not missing:
            self._heard(self._reply)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self.close()

    def _heard(self, reply: asyncio.Future[bytes]) -> None:
        payload = bytes(memoryview(self._received)[FRAME_HEAD.size :])
        self._received, self._reply = bytearray(), None
        if not reply.done():
            reply.set_result(payload)


def _give_up(reply: asyncio.Future[bytes]) -> None:
    if not reply.done():
        reply.set_exception(DeadlineExceeded())


def _read(raw: bytes, asked: str) -> replica_pb2.Reply:
    """The reply to a question of the kind `asked`. Raises what the replica said of the whole call."""
    try:
        reply = replica_pb2.Reply.FromString(raw)
    except DecodeError as error:
        raise InternalError("a replica's reply is unreadable") from error
    kind = reply.WhichOneof("reply")
    if kind == "error":
        raise _error_of_call(reply.error, asked)
    if kind != REPLIES[asked]:
        raise InternalError(f"a replica's reply to {asked} holds {kind}")
    return reply


def _found_no_room(outcome: Outcome) -> bool:
    return isinstance(outcome, ResourceExhausted) and outcome.reason in (REPLY_FULL, ANSWER_TOO_LARGE)


def _told_apart(outcomes: list[Outcome]) -> list[Outcome]:
    """Answers that found no room beside others are to be asked for again; one that found none alone never will."""
    room = sum(isinstance(outcome, bytes) for outcome in outcomes)
    refusal = ReplyFull(room) if room else _too_large("top_k")
    return [refusal if _found_no_room(outcome) else outcome for outcome in outcomes]


def _too_large(field: str) -> GatewayError:
    return InvalidRequest(field, ANSWER_TOO_LARGE, "the answer is larger than a replica may send; ask for less")


def _error_of_call(error: recall_pb2.RecallError, asked: str) -> GatewayError:
    if error.code in LOST or error.reason == QUESTION_UNKNOWN:
        return ReplicaLost()
    if error.code == code_pb2.INVALID_ARGUMENT and asked == "answer":
        # Each query has its own error: what is wrong with the frame around them we have written.
        return InternalError(f"a replica refused a batch: {error.reason}: {error.message}")
    refusal = _error_of(error)
    return _too_large("items") if _found_no_room(refusal) else refusal


def _error_of(error: recall_pb2.RecallError) -> GatewayError:
    return statuses.error_of(error.code, reason=error.reason, message=error.message, field=error.field)
