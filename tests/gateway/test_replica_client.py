"""Lines to one replica: how they are opened and kept, and what a replica that breaks the rules is worth."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from google.rpc import code_pb2

from gateway import replica_client
from gateway.errors import DeadlineExceeded, GatewayError, InternalError, InvalidRequest, ReplicaLost, Unavailable
from gateway.replica_client import FRAMES_SUFFIX, AnswerBatch, Outcome, ReplicaClient
from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2

SECONDS = 20.0


class Replica:
    """Listens at `address`; answers each frame with what `say` makes of it, or hangs up when that is None."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/r1.sock"
        self._path = f"{folder}/r1.sock{FRAMES_SUFFIX}"
        self.say: Callable[[replica_pb2.Question], bytes | None] = answered
        self.greets = True
        self.asked = asyncio.Event()
        self.connections = 0
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

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        if not self.greets:
            return
        writer.write(bytes(4))
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                self.asked.set()
                said = self.say(replica_pb2.Question.FromString(await reader.readexactly(size)))
                await asyncio.sleep(self.delay_seconds)
                if said is None:
                    break
                writer.write(said)
        except asyncio.IncompleteReadError:
            pass  # The gateway hung up, as some of these tests want it to.
        finally:
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


def refused(code: int) -> Callable[[replica_pb2.Question], bytes]:
    error = recall_pb2.RecallError(code=code, reason="WHY", message="why", field="top_k")
    return lambda _: reply(error=error)


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    with tempfile.TemporaryDirectory(prefix="rl-") as name:
        replica = Replica(Path(name))
        await replica.start()
        yield replica
        if replica.listens:
            await replica.stop()


@pytest.fixture
async def client(replica: Replica) -> AsyncIterator[ReplicaClient]:
    client = ReplicaClient(replica.address, 7)
    yield client
    await client.close()


async def ask(client: ReplicaClient, *payloads: bytes, seconds: float = SECONDS) -> list[Outcome]:
    now = time.monotonic()
    batch = AnswerBatch(now)
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


async def test_items_pass_through(client: ReplicaClient) -> None:
    assert await client.get_items(b"as it came", time.monotonic() + SECONDS) == b"as it came"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (code_pb2.FAILED_PRECONDITION, ReplicaLost),
        (code_pb2.UNAVAILABLE, ReplicaLost),
        (code_pb2.INVALID_ARGUMENT, InvalidRequest),
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


BROKEN: dict[str, Callable[[replica_pb2.Question], bytes | None]] = {
    "unreadable": lambda _: framed(b"\xff\xff\xff"),
    "one answer too few": lambda _: reply(answer=replica_pb2.AnswerResponse()),
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
    replica.delay_seconds = SECONDS
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


async def test_a_replica_that_takes_connections_and_does_not_greet_is_lost(
    replica: Replica, client: ReplicaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_client, "CONNECT_SECONDS_MAX", 0.1)
    replica.greets = False
    with pytest.raises(ReplicaLost):
        await ask(client)
    replica.greets = True
    assert await ask(client) == [b"query"]
