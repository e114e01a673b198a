"""Routes: only newer ones, removed only by a tombstone, taken over within milliseconds and acknowledged at once."""

from __future__ import annotations

import asyncio
import time

import grpc

from documents.store import ROUTES, DocumentWriter, Stamp
from recallpb.internal.v1 import documents_pb2
from tests.gateway.harness import FILMS, Harness, query, refusal, route, route_version
from tests.gateway.load import steady_load
from tests.support.exact_replica import ExactReplica

FIELD = "films/movies"


def served(harness: Harness) -> Stamp:
    assert harness.gateway
    return harness.gateway.routes.stamp_of(FIELD)


async def test_a_switch_under_load_fails_no_call_and_mixes_no_versions(harness: Harness) -> None:
    old, new = await harness.replica("old", 1), await harness.replica("new", 2)
    first, second = route_version(1, old.address), route_version(2, new.address)
    harness.publish(route(first))
    await harness.start()
    async with steady_load(harness) as load:
        for switch in range(20):
            live, previous = (second, first) if switch % 2 == 0 else (first, second)
            stamp = harness.publish(route(live, previous))
            await harness.until(lambda stamp=stamp: served(harness) == stamp)
            switched_at = time.monotonic()
            await asyncio.sleep(0.05)
            # Those that began before may have pinned the old route.
            assert {version for began, version in load.answers if began > switched_at} <= {live.version}
    assert len(load.answers) > 500
    assert set(load.versions()) == {1, 2}


async def test_a_change_arrives_within_milliseconds_and_is_acknowledged_at_once(
    films: Harness, replica: ExactReplica
) -> None:
    await films.until(films.lease)
    delays = []
    for _ in range(5):
        published_at = time.monotonic()
        stamp = films.publish(route(route_version(1, replica.address)))
        await films.until(lambda stamp=stamp: acknowledged(films) == stamp)
        delays.append(time.monotonic() - published_at)
    # The poll alone would take up to a second each time.
    assert sorted(delays)[2] < 0.2, delays


def acknowledged(harness: Harness) -> Stamp | None:
    lease = harness.lease()
    return Stamp.of(lease.serving[FIELD]) if lease and FIELD in lease.serving else None


async def test_a_change_without_a_hint_is_found_by_the_poll(films: Harness, replica: ExactReplica) -> None:
    document = route(route_version(1, replica.address))
    document.stamp.CopyFrom(Stamp(1, 50).to_message())
    with films.valkey.client() as client:
        client.hset(ROUTES.stamps_key, FIELD, "1:50")
        client.hset(ROUTES.docs_key, FIELD, document.SerializeToString())
    await films.until(lambda: served(films) == Stamp(1, 50))


async def test_a_stamp_that_cannot_be_read_stops_nobody_and_is_written_over(
    films: Harness, replica: ExactReplica
) -> None:
    assert films.gateway
    with films.valkey.client() as client:
        client.hset(ROUTES.stamps_key, mapping={FIELD: "1:two", "books/novels": "\xff"})
        newer = films.publish(route(route_version(1, replica.address)))
    await films.until(lambda: served(films) == newer)
    assert (await films.caller().recall()).version == 1


async def test_an_older_route_changes_nothing(films: Harness, replica: ExactReplica) -> None:
    films.publish(route(route_version(1, replica.address)), generation=10)
    await films.until(lambda: served(films) == Stamp(1, 10))
    older = route()
    older.stamp.CopyFrom(Stamp(1, 9).to_message())
    assert films.gateway
    assert films.gateway.routes.apply({FIELD: older.SerializeToString()}) == 0
    assert (await films.caller().recall()).version == 1


async def test_a_restored_database_wins_by_its_epoch(films: Harness, replica: ExactReplica) -> None:
    films.publish(route(route_version(1, replica.address)), generation=10)
    restored = films.publish(route(route_version(1, replica.address)), epoch=2, generation=1)
    await films.until(lambda: served(films) == restored)


async def test_a_tombstone_removes_the_service_and_is_acknowledged(films: Harness) -> None:
    stamp = films.publish(route(tombstone=True))
    await films.until(lambda: acknowledged(films) == stamp)
    # The tenant's key went with the only service that named it.
    refused = await refusal(films.caller().recall())
    assert refused.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


async def test_a_service_may_come_back_after_its_tombstone(films: Harness, replica: ExactReplica) -> None:
    films.publish(route(tombstone=True))
    stamp = films.publish(route(route_version(1, replica.address)))
    await films.until(lambda: served(films) == stamp)
    assert (await films.caller().recall()).version == 1


async def test_documents_that_cannot_be_read_or_lie_about_their_place_change_nothing(films: Harness) -> None:
    foreign = route(name="tenants/books/services/novels")
    foreign.stamp.CopyFrom(Stamp(9, 9).to_message())
    with films.valkey.client() as client:
        writer = DocumentWriter(client)
        writer.put_if_newer(ROUTES, FIELD, Stamp(8, 1), b"\xff\xff nonsense")
        writer.put_if_newer(ROUTES, "films/stolen", Stamp(9, 9), foreign.SerializeToString())
    stamp = films.publish(route(name="tenants/films/services/series"))
    assert films.gateway
    routes = films.gateway.routes
    await films.until(lambda: routes.stamp_of("films/series") == stamp)
    assert (await films.caller().recall()).version == 1
    assert routes.find("tenants/films/services/stolen") is None
    assert routes.find("tenants/books/services/novels") is None


async def test_a_request_keeps_the_route_it_began_with(harness: Harness) -> None:
    old, new = await harness.replica("old", 1), await harness.replica("new", 2)
    harness.publish(route(route_version(1, old.address)))
    await harness.start()
    old.delay_seconds = 0.3
    under_way = asyncio.create_task(harness.caller().recall())
    await harness.until(lambda: old.at_once)
    stamp = harness.publish(route(route_version(2, new.address)))
    await harness.until(lambda: served(harness) == stamp)
    assert (await harness.caller().recall(query(FILMS))).version == 2
    assert (await under_way).version == 1


async def test_the_lease_names_the_gateway_its_address_and_its_age(films: Harness) -> None:
    await films.until(films.lease)
    lease = films.lease()
    assert isinstance(lease, documents_pb2.GatewayReport)
    assert lease.gateway == f"local-{films.port}-0"
    assert lease.address == f"127.0.0.1:{films.port}"
    assert 0 <= lease.stale_seconds < 5


async def test_a_clean_stop_gives_the_lease_back(films: Harness) -> None:
    await films.until(films.lease)
    await films.stop()
    assert films.lease() is None
