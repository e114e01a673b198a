"""Redis killed, empty, frozen or never there: what is live goes on, and what is new arrives when Redis is back."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from documents.store import Stamp
from tests.gateway.harness import ALICES_KEY, Harness, refusal, route, route_version
from tests.gateway.load import steady_load
from tests.support.exact_replica import ExactReplica

pytestmark = pytest.mark.servers

FIELD = "films/movies"


async def test_valkey_killed_and_back_empty_under_load_fails_no_call(harness: Harness) -> None:
    old, new = await harness.replica("old", 1), await harness.replica("new", 2)
    harness.publish(route(route_version(1, old.address)))
    gateway = await harness.start()
    async with steady_load(harness) as load:
        harness.valkey.kill()
        await asyncio.sleep(1.5)
        harness.valkey.start()
        await harness.until(lambda: not gateway.connection.away)
        await asyncio.sleep(0.3)
        assert set(load.versions()) == {1}
        harness.publish(route(route_version(2, new.address), route_version(1, old.address)))
        await harness.until(lambda: load.versions()[-1] == 2)
        await harness.until(harness.lease)
    assert len(load.answers) > 500


async def test_a_frozen_redis_holds_up_no_call(films: Harness) -> None:
    async with steady_load(films) as load:
        films.valkey.freeze()
        try:
            await asyncio.sleep(1.5)
            answered = len(load.answers)
            await films.until(lambda: len(load.answers) > answered + 100)
        finally:
            films.valkey.thaw()


async def test_a_gateway_starts_from_its_disk_when_redis_is_away(harness: Harness, replica: ExactReplica) -> None:
    gateway = await harness.start()
    await harness.until(gateway.snapshot.path.exists)
    await harness.stop()
    await harness.start(redis_url="redis://127.0.0.1:9/0")
    assert (await harness.caller().recall()).version == 1
    assert (await refusal(harness.caller("rk_unknown0_x").recall())).code is grpc.StatusCode.UNAUTHENTICATED


async def test_what_redis_knows_better_replaces_what_the_disk_remembers(harness: Harness) -> None:
    old, new = await harness.replica("old", 1), await harness.replica("new", 2)
    harness.publish(route(route_version(1, old.address)))
    gateway = await harness.start()
    await harness.until(gateway.snapshot.path.exists)
    await harness.stop()
    harness.publish(route(route_version(2, new.address)))
    await harness.start()
    assert (await harness.caller().recall()).version == 2


async def test_an_empty_redis_withdraws_nothing_from_a_gateway_that_starts(
    harness: Harness, replica: ExactReplica
) -> None:
    gateway = await harness.start()
    await harness.until(gateway.snapshot.path.exists)
    await harness.stop()
    with harness.valkey.client() as client:
        client.flushall()
    await harness.start()
    assert (await harness.caller().recall()).version == 1


@pytest.mark.parametrize("damage", [b"", b"\xff\xff\xff\xff"])
async def test_a_damaged_snapshot_is_no_hindrance(harness: Harness, replica: ExactReplica, damage: bytes) -> None:
    path = harness.home / "gateway" / "routes.snapshot"
    path.parent.mkdir()
    path.write_bytes(damage)
    await harness.start()
    assert (await harness.caller().recall()).version == 1


async def test_the_snapshot_is_for_its_owner_only_and_holds_no_key(harness: Harness, replica: ExactReplica) -> None:
    gateway = await harness.start()
    await harness.until(gateway.snapshot.path.exists)
    path = gateway.snapshot.path
    assert path.stat().st_mode & 0o777 == 0o600
    assert ALICES_KEY.encode() not in path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["routes.snapshot"]


async def test_redis_may_come_back_at_another_address(harness: Harness, replica: ExactReplica) -> None:
    note = harness.home / "run" / "redis.url"
    note.parent.mkdir()
    note.write_text("redis://127.0.0.1:9/0\n")
    gateway = await harness.start(redis_url="")
    assert gateway.connection.away
    note.write_text(f"{harness.valkey.url}\n")
    await harness.until(lambda: gateway.routes.stamp_of(FIELD) == Stamp(1, 1))
    assert (await harness.caller().recall()).version == 1


async def test_it_says_how_stale_it_is(films: Harness) -> None:
    assert films.gateway
    films.valkey.kill()
    try:
        await films.until(lambda: films.gateway and films.gateway.stale_seconds() > 1.5)
    finally:
        films.valkey.start()
    await films.until(lambda: films.gateway and films.gateway.stale_seconds() < 1.0)
