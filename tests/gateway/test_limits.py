"""Admission: queries a second and calls at once, for a service and for its tenant, shared among gateways."""

from __future__ import annotations

import asyncio
import dataclasses

import grpc
import pytest

from documents.store import GATEWAY_REPORT_PREFIX
from gateway.errors import ResourceExhausted
from gateway.limits import Limits, TokenBucket
from gateway.routes import Route, parse_route
from recallpb.v1 import recall_pb2
from tests.gateway.harness import FILMS, Harness, Refused, limits, query, refusal, route, route_version
from tests.support.exact_replica import ExactReplica

pytestmark = pytest.mark.servers


def limited(*, qps: float = 0, concurrency: int = 0, tenant: float = 0, name: str = FILMS) -> Route:
    document = route(name=name, limits=limits(qps=qps, concurrency=concurrency), tenant_qps_max=tenant)
    return parse_route(document.SerializeToString())


def test_a_bucket_brings_its_rate_and_says_when_to_come_again() -> None:
    bucket = TokenBucket(now=0.0)
    assert [bucket.take(1, rate=10, now=0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(1, rate=10, now=0.0) == pytest.approx(0.1)
    assert bucket.take(1, rate=10, now=0.11) == 0.0
    assert bucket.take(5, rate=10, now=0.11) == pytest.approx(0.49)


def test_a_cost_above_the_bucket_is_admitted_when_it_is_full_and_paid_off_afterwards() -> None:
    bucket = TokenBucket(now=0.0)
    assert bucket.take(1_000, rate=100, now=0.0) == 0.0
    assert bucket.take(1, rate=100, now=1.0) == pytest.approx(8.01)
    assert bucket.take(1, rate=100, now=9.02) == 0.0


def test_a_rate_below_one_a_second_admits_one_now_and_then() -> None:
    bucket = TokenBucket(now=0.0)
    assert bucket.take(1, rate=0.5, now=0.0) == 0.0
    assert bucket.take(1, rate=0.5, now=0.0) == pytest.approx(2.0)


def test_over_time_no_more_than_the_rate_is_admitted() -> None:
    bucket = TokenBucket(now=0.0)
    admitted = sum(bucket.take(1, rate=50, now=tick / 1_000) == 0.0 for tick in range(10_000))
    assert admitted == pytest.approx(50 + 500, abs=2)


def test_gateways_share_a_limit_and_never_make_it_zero() -> None:
    shared = Limits()
    shared.share_among(4)
    for limit, share in ((64, 16), (5, 2), (1, 1)):
        route_ = limited(concurrency=limit, name=f"tenants/films/services/s{limit}")
        admitted = [shared.enter(route_, queries=1) for _ in range(share)]
        with pytest.raises(ResourceExhausted):
            shared.enter(route_, queries=1)
        admitted[0].leave()
        shared.enter(route_, queries=1)


def test_what_the_tenant_refuses_costs_the_service_nothing() -> None:
    service_limits = Limits()
    both = limited(qps=10, tenant=1)
    service_limits.enter(both, queries=1)
    for _ in range(50):
        with pytest.raises(ResourceExhausted, match="tenant"):
            service_limits.enter(both, queries=1)
    without_tenant = limited(qps=10)
    for _ in range(9):
        service_limits.enter(without_tenant, queries=1)


def test_a_tenant_limit_spans_its_services() -> None:
    tenant_limits = Limits()
    names = [f"tenants/films/services/s{number}" for number in range(5)]
    for name in names:
        tenant_limits.enter(limited(tenant=5, name=name), queries=1)
    with pytest.raises(ResourceExhausted):
        tenant_limits.enter(limited(tenant=5, name=names[0]), queries=1)
    tenant_limits.enter(limited(tenant=5, name="tenants/books/services/novels"), queries=1)


async def test_too_many_queries_a_second_are_refused_with_the_time_to_come_again(
    harness: Harness, replica: ExactReplica
) -> None:
    harness.publish(route(route_version(1, replica.address), limits=limits(qps=5)))
    await harness.start()
    alice = harness.caller()
    outcomes = await asyncio.gather(*(alice.recall() for _ in range(20)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert 12 <= len(refused) <= 15
    assert {(error.code, error.reason) for error in refused} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVICE_QPS_EXCEEDED")
    }
    await asyncio.sleep(max(error.retry_seconds for error in refused) + 0.01)
    assert (await alice.recall()).version == 1


async def test_a_batch_counts_its_queries(harness: Harness, replica: ExactReplica) -> None:
    harness.publish(route(route_version(1, replica.address), limits=limits(qps=100)))
    await harness.start()
    alice = harness.caller()
    batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("")] * 90)
    assert len((await alice.call("BatchRecall", batch)).results) == 90
    refused = await refusal(alice.call("BatchRecall", batch))
    assert refused.reason == "SERVICE_QPS_EXCEEDED"
    assert 0.2 < refused.retry_seconds <= 0.9


async def test_too_many_calls_at_once_are_refused_and_ended_ones_make_room(
    harness: Harness, replica: ExactReplica
) -> None:
    harness.publish(route(route_version(1, replica.address), limits=limits(concurrency=3)))
    gateway = await harness.start()
    replica.delay_seconds = 0.5
    alice = harness.caller()
    under_way = [asyncio.create_task(alice.recall()) for _ in range(3)]
    await harness.until(lambda: gateway.limits.calls_under_way() == {FILMS: 3})
    refused = await refusal(alice.recall())
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CONCURRENCY_EXCEEDED")
    assert refused.retry_seconds > 0
    under_way[0].cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    replica.delay_seconds = 0.0
    assert len(await asyncio.gather(*(alice.recall() for _ in range(3)))) == 3


async def test_live_gateways_are_counted_from_their_leases(films: Harness) -> None:
    gateway = films.gateway
    assert gateway
    with films.valkey.client() as client:
        others = [f"{GATEWAY_REPORT_PREFIX}other-{number}" for number in range(3)]
        client.mset(dict.fromkeys(others, b""))
        await films.until(lambda: gateway.limits.gateways == 4)
        client.delete(*others)
        await films.until(lambda: gateway.limits.gateways == 1)


def test_a_tenant_is_forgotten_with_the_last_of_its_services_and_not_before() -> None:
    shared = Limits()
    films, series, books = (
        limited(tenant=2, name=f"tenants/{name}")
        for name in ("films/services/a", "films/services/b", "film/services/a")
    )
    for route_ in (films, series, books):
        shared.enter(route_, queries=1)
    gone = {route_.name: dataclasses.replace(route_, tombstone=True) for route_ in (films, series)}
    shared.follow(films, gone[films.name])
    assert shared.tenants() == ["films", "film"]
    with pytest.raises(ResourceExhausted):
        shared.enter(series, queries=1)
    shared.follow(series, gone[series.name])
    assert shared.tenants() == ["film"]
