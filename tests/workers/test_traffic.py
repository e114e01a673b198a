"""The tick that turns what gateways tell into rows."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis.asyncio

from documents.key_uses import KeyUse, KeyUsesWriter
from documents.traffic import SETTLED_AFTER_SECONDS, SPAN_SECONDS, TrafficWriter, span_of
from tenants.actions import key_create
from tenants.selectors import key_get
from tests.factories import TESTER
from tests.support.traffic import calls
from versions.models import TrafficSpan
from workers import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def told(valkey, began: int, count: int, process: str = "local-50051-0:1") -> None:
    """A gateway wrote this span."""

    async def put() -> None:
        async with redis.asyncio.Redis.from_url(valkey.url) as client:
            await TrafficWriter(client).put(began, process, {"tenants/films/services/movies": calls(count)})

    asyncio.run(put())


def test_every_settled_span_becomes_rows_and_is_taken_away(films_service, valkey) -> None:
    newest = span_of(time.time() - SETTLED_AFTER_SECONDS) - SPAN_SECONDS
    told(valkey, newest - 5 * SPAN_SECONDS, 10)
    told(valkey, newest, 20)
    told(valkey, newest, 30, "local-50051-1:2")
    told(valkey, newest + 100 * SPAN_SECONDS, 40)
    tasks.sweep_traffic()
    tasks.sweep_traffic()
    rows = TrafficSpan.objects.order_by("at").values_list("at", "queries")
    assert [(int(at.timestamp()), queries) for at, queries in rows] == [(newest - 5 * SPAN_SECONDS, 10), (newest, 50)]
    assert valkey.client().keys("recall:traffic:*") == [f"recall:traffic:{newest + 100 * SPAN_SECONDS}".encode()]


def test_what_gateways_tell_of_keys_is_noted_and_taken_away(films_service, valkey) -> None:
    key = key_create(actor=TESTER, tenant=films_service.tenant, scope="read").key
    at = time.time()

    async def put() -> None:
        async with redis.asyncio.Redis.from_url(valkey.url) as client:
            use = KeyUse(key.prefix, "tenants/films/services/movies", at, "10.0.0.7")
            await KeyUsesWriter(client).put([use])

    asyncio.run(put())
    tasks.sweep_traffic()
    [use] = key.uses.all()
    assert (use.service, use.address) == ("movies", "10.0.0.7")
    assert key_get(films_service.tenant, key.prefix).last_used_at.timestamp() == pytest.approx(at, abs=0.01)
    assert valkey.client().keys("recall:key_uses") == []


def test_without_redis_the_tick_says_so_and_ends(films_service) -> None:
    tasks.sweep_traffic()
    assert not TrafficSpan.objects.exists()
