"""The tick that turns what gateways tell into rows."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis.asyncio

from documents.traffic import SETTLED_AFTER_SECONDS, SPAN_SECONDS, TrafficWriter, span_of
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


def test_without_redis_the_tick_says_so_and_ends(films_service) -> None:
    tasks.sweep_traffic()
    assert not TrafficSpan.objects.exists()
