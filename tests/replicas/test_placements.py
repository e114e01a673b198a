"""Following the node's document through everything that Redis may do. A real Valkey."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from documents.store import HINTS_CHANNEL, NODE_REPORT_PREFIX, PLACEMENTS, DocumentWriter, Stamp
from recallpb.internal.v1 import documents_pb2
from replicas.link import RedisAway, RedisLink
from replicas.placements import PlacementsFollower
from replicas.reports import node_report
from tests.support.valkey import Valkey
from tests.support.waiting import until


def document(generation: int, *replica_ids: str, epoch: int = 1, node: str = "local") -> documents_pb2.Placements:
    return documents_pb2.Placements(
        node=node,
        stamp=documents_pb2.Stamp(epoch=epoch, generation=generation),
        placements=[documents_pb2.Placement(replica_id=replica_id) for replica_id in replica_ids],
    )


def put(server: Valkey, placements: documents_pb2.Placements) -> bool:
    stamp = Stamp.of(placements.stamp)
    return DocumentWriter(server.client()).put_if_newer(
        PLACEMENTS, placements.node, stamp, placements.SerializeToString()
    )


@pytest.fixture
async def link(valkey: Valkey) -> AsyncIterator[RedisLink]:
    link = RedisLink(lambda: valkey.url, seconds_max=0.5)
    yield link
    await link.close()


@pytest.fixture
def follower(tmp_path: Path) -> PlacementsFollower:
    return PlacementsFollower("local", tmp_path)


async def test_it_takes_only_newer_documents(
    valkey: Valkey,
    link: RedisLink,
    follower: PlacementsFollower,
) -> None:
    put(valkey, document(5, "r1"))
    assert await link.use(follower.refresh)
    assert not await link.use(follower.refresh)
    assert follower.stamp == Stamp(1, 5)

    valkey.client().flushall()
    assert not await link.use(follower.refresh)
    put(valkey, document(4, "r9"))
    assert not await link.use(follower.refresh)
    assert follower.document == document(5, "r1")

    put(valkey, document(1, "r2", epoch=2))
    assert await link.use(follower.refresh)
    assert follower.document == document(1, "r2", epoch=2)


async def test_it_starts_from_its_copy(
    valkey: Valkey,
    link: RedisLink,
    follower: PlacementsFollower,
    tmp_path: Path,
) -> None:
    put(valkey, document(5, "r1"))
    await link.use(follower.refresh)

    successor = PlacementsFollower("local", tmp_path)
    successor.start_from_copy()
    assert successor.document == document(5, "r1")

    stranger = PlacementsFollower("other", tmp_path)
    stranger.start_from_copy()
    assert stranger.document is None


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff", b"\x0a"])
def test_a_damaged_copy_is_no_document(follower: PlacementsFollower, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "placements.bin").write_bytes(content)

    follower.start_from_copy()

    assert follower.document is None


async def test_an_unreadable_document_changes_nothing_and_the_next_one_counts(
    valkey: Valkey,
    link: RedisLink,
    follower: PlacementsFollower,
) -> None:
    put(valkey, document(1, "r1"))
    await link.use(follower.refresh)

    for generation, payload in ((2, b"\xff\xff"), (3, document(3, "../r1").SerializeToString())):
        DocumentWriter(valkey.client()).put_if_newer(PLACEMENTS, "local", Stamp(1, generation), payload)
        assert not await link.use(follower.refresh)
    assert follower.document == document(1, "r1")

    put(valkey, document(4, "r3"))
    assert await link.use(follower.refresh)


async def test_the_link_survives_death_freeze_and_return(
    valkey: Valkey,
    link: RedisLink,
    follower: PlacementsFollower,
) -> None:
    put(valkey, document(1, "r1"))
    await link.use(follower.refresh)

    valkey.kill()
    for _ in range(2):
        with pytest.raises(RedisAway):
            await link.use(follower.refresh)
    valkey.start()
    assert not await link.use(follower.refresh)

    pid = valkey.client().info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(RedisAway):
        await link.use(follower.refresh)
    os.kill(pid, signal.SIGCONT)
    assert put(valkey, document(2, "r2"))
    assert await link.use(follower.refresh)


async def test_hints_arrive_and_end_with_the_connection(valkey: Valkey, link: RedisLink) -> None:
    heard: list[str] = []
    listening = asyncio.create_task(link.hear_hints(heard.append))
    await until(lambda: valkey.client().pubsub_numsub(HINTS_CHANNEL)[0][1] == 1)

    put(valkey, document(1, "r1"))
    await until(lambda: heard)
    assert heard == ["placements local"]

    valkey.kill()
    with pytest.raises(RedisAway):
        await asyncio.wait_for(listening, 10)


async def test_an_unconfigured_or_absurd_address_is_redis_being_away() -> None:
    for address in ("", "no-url", "redis://127.0.0.1:1/0"):
        link = RedisLink(lambda address=address: address, seconds_max=0.5)
        with pytest.raises(RedisAway):
            await link.use(lambda reader: reader.stamps(PLACEMENTS))


async def test_a_report_lies_in_redis_with_a_time_to_live(valkey: Valkey, link: RedisLink) -> None:
    ours = documents_pb2.ReplicaReport(replica_id="r1", state=documents_pb2.ReplicaReport.READY)
    report = node_report(node="local", stamp=Stamp(1, 5), replicas=[ours])

    await link.use(lambda reader: reader.report_node(report))

    client = valkey.client()
    assert DocumentWriter(client).node_reports(["local"]) == {"local": report}
    assert 0 < client.ttl(NODE_REPORT_PREFIX + "local") <= 10
    assert report.memory_total_bytes > report.memory_available_bytes > 0
