"""What callers asked arrives at the control plane: each call once, from every gateway, however they come and go."""

from __future__ import annotations

import asyncio
import time

import pytest

from documents.key_uses import KeyUse, KeyUsesReader
from documents.traffic import (
    LATENCY_SECONDS,
    SETTLED_AFTER_SECONDS,
    SPAN_SECONDS,
    Traffic,
    TrafficReader,
    TrafficWriter,
    span_of,
)
from gateway.feed import RedisConnection
from gateway.key_uses import KeyUses, address_of
from gateway.metrics import Metrics
from gateway.traffic import TrafficTeller
from recallpb.v1 import recall_pb2
from tests.gateway.harness import ALICES_KEY, FILMS, Harness, Refused, query
from tests.gateway.test_keys import token

LONG_AFTER = 10_000
GAMES = "tenants/films/services/games"
# Nobody listens there.
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def no_span_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests say when."""

    async def forever(_teller: TrafficTeller) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(TrafficTeller, "run", forever)


def teller_of(films: Harness, metrics: Metrics | None = None) -> TrafficTeller:
    assert films.gateway is not None
    connection = films.gateway.connection
    return TrafficTeller(
        process="one:1",
        metrics=metrics or films.gateway.metrics,
        key_uses=films.gateway.key_uses,
        connection=connection,
    )


def told(films: Harness, now: float = 0.0) -> dict[int, dict[str, Traffic]]:
    with films.valkey.client() as client:
        return TrafficReader(client).settled(now or time.time() + LONG_AFTER)


async def test_calls_queries_and_refusals_are_told_once(films: Harness) -> None:
    caller = films.caller()
    for _ in range(3):
        await caller.recall()
    await caller.call("BatchRecall", recall_pb2.BatchRecallRequest(service=FILMS, requests=[query()] * 5))
    await caller.call("CountItems", recall_pb2.CountItemsRequest(service=FILMS))
    with pytest.raises(Refused):
        await caller.recall(query(top_k=100_000))
    with pytest.raises(Refused):
        await caller.recall(query("tenants/films/services/nothing"))
    teller = teller_of(films)
    began = span_of(time.time())
    await teller.tell(began)
    [(at, services)] = told(films).items()
    assert at == began
    assert set(services) == {FILMS}
    traffic = services[FILMS]
    assert (traffic.queries, traffic.codes, traffic.calls) == (9, {"OK": 4, "INVALID_ARGUMENT": 1}, 5)
    await teller.tell(began + SPAN_SECONDS)
    assert list(told(films)) == [began], "nothing new, nothing told"


async def test_a_gateway_that_stops_tells_what_it_had_not_told_yet(films: Harness) -> None:
    await films.caller().recall()
    await films.stop()
    [services] = told(films).values()
    assert services[FILMS].queries == 1


async def test_gateways_are_added_up_and_a_span_waits_until_it_is_settled(films: Harness) -> None:
    began, traffic = 1_000, Traffic(queries=2, codes={"OK": 1}, counts=[1] + [0] * len(LATENCY_SECONDS))
    assert films.gateway is not None
    writer = TrafficWriter(await films.gateway.connection.client())
    for process in ("one:1", "two:2", "two:2"):
        await writer.put(began, process, {FILMS: traffic})
    settled_at = began + SPAN_SECONDS + SETTLED_AFTER_SECONDS
    assert told(films, settled_at - 1) == {}
    assert told(films, settled_at)[began][FILMS].queries == 4
    with films.valkey.client() as client:
        TrafficReader(client).forget([began])
    assert told(films) == {}


async def test_a_service_that_takes_over_a_name_starts_from_nothing(films: Harness) -> None:
    metrics = Metrics()
    teller = teller_of(films, metrics)
    for _ in range(5):
        metrics.ended("Recall", GAMES, "OK", 0.001)
    await teller.tell(1_000)
    metrics.forget(GAMES)
    metrics.ended("Recall", GAMES, "OK", 0.001)
    await teller.tell(1_010)
    assert [services[GAMES].calls for services in told(films).values()] == [5, 1]


async def test_without_redis_a_span_is_lost_and_nothing_else() -> None:
    metrics = Metrics()
    key_uses = KeyUses()
    teller = TrafficTeller(
        process="one:1", metrics=metrics, key_uses=key_uses, connection=RedisConnection(lambda: NOBODY)
    )
    key_uses.note("alices01", FILMS, lambda: "ipv4:10.0.0.7:1")
    metrics.ended("Recall", FILMS, "OK", 0.001)
    await teller.tell(1_000)
    assert teller._since_last_time() == {}
    assert [use.address for use in key_uses.take()] == ["10.0.0.7"], "told with the next span"


def used(films: Harness) -> list[KeyUse]:
    with films.valkey.client() as client:
        return KeyUsesReader(client).take()


async def test_which_key_called_which_service_is_told_once_a_span(films: Harness) -> None:
    caller = films.caller()
    before = time.time()
    for _ in range(3):
        await caller.recall()
    for refused in (query(top_k=100_000), query("tenants/films/services/nothing")):
        with pytest.raises(Refused):
            await caller.recall(refused)
    with pytest.raises(Refused):
        await films.caller("rk_zzzzzzzz_nobody").recall()
    teller = teller_of(films)
    await teller.tell(span_of(time.time()))
    [use] = used(films)
    assert (use.prefix, use.service) == (ALICES_KEY[3:11], FILMS)
    assert before - 0.001 <= use.at_seconds <= time.time()
    assert use.address in ("127.0.0.1", "::1")
    await teller.tell(span_of(time.time()) + SPAN_SECONDS)
    assert used(films) == [], "nothing new, nothing told"


async def test_the_console_calls_in_no_keys_name(films: Harness) -> None:
    await films.caller(token()).recall()
    await teller_of(films).tell(span_of(time.time()))
    assert used(films) == []


@pytest.mark.parametrize(
    ("peer", "address"),
    [("ipv4:10.0.0.7:52110", "10.0.0.7"), ("ipv6:%5Bfe80::1%5D:52110", "fe80::1"), ("unix:", "unix")],
)
def test_a_peer_is_told_without_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address
