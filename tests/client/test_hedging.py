"""The Python client asks a second gateway when the first one is slow for once, and never makes an overload worse."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from recall_client import (
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from recall_client.hedging import LATENCIES_KEPT, LATENCIES_MIN, TOKENS_MAX, TOKENS_PER_CALL, Hedging
from recall_client.racing import Alarms
from recallpb.v1 import recall_pb2
from tests.client.scripted import Scripted, refuse, serving

KEY = "rk_alicekey_0123456789abcdefghijABCDEFGHIJ01"
VECTOR = np.ones(4, dtype=np.float32)
SLOW_SECONDS = 0.5
# Between what a quick answer takes here and what a slow one does.
QUICK_SECONDS_MAX = 0.3
Code = grpc.StatusCode


class Gateway:
    """Answers at once with its own version; slowly, or with a refusal, when the test says so."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.slow = False
        self.slow_seconds = SLOW_SECONDS
        self.refuses: grpc.StatusCode | None = None
        self.asked_while_slow = threading.Event()
        self.cancelled = threading.Event()

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self.slow:
            self.asked_while_slow.set()
            context.add_callback(self.cancelled.set)
            time.sleep(self.slow_seconds)
        if self.refuses:
            refuse(context, self.refuses, "no", reason="NO")
        if isinstance(request, recall_pb2.BatchRecallRequest):
            return recall_pb2.BatchRecallResponse()
        return recall_pb2.RecallResponse(version=self.version)


@pytest.fixture
def gateways() -> tuple[Gateway, Gateway]:
    return Gateway(1), Gateway(2)


@pytest.fixture
def servers(gateways: tuple[Gateway, Gateway]) -> Iterator[list[Scripted]]:
    with serving(gateways[0]) as one, serving(gateways[1]) as two:
        yield [one, two]


@pytest.fixture
def client(servers: list[Scripted]) -> Iterator[Client]:
    """Knows how long a call usually takes."""
    addresses = [server.address for server in servers]
    with Client(addresses, KEY, service="films/similar", deadline_ms=5_000) as client:
        for _ in range(LATENCIES_MIN):
            client.recall(VECTOR)
        yield client


def slow_one(gateways: tuple[Gateway, Gateway], client: Client) -> tuple[Gateway, Gateway]:
    """The gateway whose turn it is, made slow, and the other one. Exact, because that is never hedged itself."""
    last = client.recall(VECTOR, exact=True).version
    slow, other = (gateways[1], gateways[0]) if last == 1 else gateways
    slow.slow = True
    return slow, other


def test_a_slow_gateway_is_not_waited_for(client: Client, gateways: tuple[Gateway, Gateway]) -> None:
    slow, other = slow_one(gateways, client)
    started = time.monotonic()
    assert client.recall(VECTOR).version == other.version
    assert time.monotonic() - started < QUICK_SECONDS_MAX
    assert slow.cancelled.wait(SLOW_SECONDS / 2), "the call that lost is cancelled, so that nobody works on it"


def test_nothing_is_hedged_before_it_is_known_what_is_slow(
    servers: list[Scripted], gateways: tuple[Gateway, Gateway]
) -> None:
    with Client([server.address for server in servers], KEY, service="films/similar", deadline_ms=5_000) as client:
        slow, _ = slow_one(gateways, client)
        assert client.recall(VECTOR).version == slow.version


def test_a_single_gateway_is_not_asked_twice_unless_the_caller_says_so() -> None:
    for hedge, calls in ((None, 1), (True, 2)):
        gateway = Gateway(1)
        with (
            serving(gateway) as server,
            Client(server.address, KEY, service="films/similar", deadline_ms=5_000, hedge=hedge) as client,
        ):
            for _ in range(LATENCIES_MIN):
                client.recall(VECTOR)
            before = len(server.requests)
            gateway.slow = True
            client.recall(VECTOR)
            assert len(server.requests) - before == calls


def test_a_caller_may_forbid_it(servers: list[Scripted], gateways: tuple[Gateway, Gateway]) -> None:
    addresses = [server.address for server in servers]
    with Client(addresses, KEY, service="films/similar", deadline_ms=5_000, hedge=False) as client:
        for _ in range(LATENCIES_MIN):
            client.recall(VECTOR)
        slow, _ = slow_one(gateways, client)
        assert client.recall(VECTOR).version == slow.version


def test_batches_and_exact_searches_are_too_costly_to_be_asked_twice(
    client: Client, servers: list[Scripted], gateways: tuple[Gateway, Gateway]
) -> None:
    for _ in range(LATENCIES_MIN):
        client.batch_recall([VECTOR])
        client.recall(VECTOR, exact=True)
    for gateway in gateways:
        gateway.slow = True
    before = sum(len(server.requests) for server in servers)
    client.batch_recall([VECTOR])
    client.recall(VECTOR, exact=True)
    assert sum(len(server.requests) for server in servers) - before == 2


def test_when_everything_is_slow_hedges_stay_a_small_share(
    client: Client, servers: list[Scripted], gateways: tuple[Gateway, Gateway]
) -> None:
    for gateway in gateways:
        gateway.slow, gateway.slow_seconds = True, 0.05
    before = sum(len(server.requests) for server in servers)
    calls = 60
    for _ in range(calls):
        client.recall(VECTOR)
    hedges = sum(len(server.requests) for server in servers) - before - calls
    assert 0 < hedges <= TOKENS_MAX + calls * TOKENS_PER_CALL


def test_an_overload_ends_all_hedges(client: Client, gateways: tuple[Gateway, Gateway]) -> None:
    for gateway in gateways:
        gateway.refuses = Code.RESOURCE_EXHAUSTED
    with pytest.raises(ResourceExhausted):
        client.recall(VECTOR)
    for gateway in gateways:
        gateway.refuses = None
    slow, _ = slow_one(gateways, client)
    assert client.recall(VECTOR).version == slow.version


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL])
def test_a_refused_hedge_does_not_fail_the_call(
    client: Client, gateways: tuple[Gateway, Gateway], code: grpc.StatusCode
) -> None:
    slow, other = slow_one(gateways, client)
    other.refuses = code
    assert client.recall(VECTOR).version == slow.version


def test_when_both_fail_the_caller_hears_it(client: Client, gateways: tuple[Gateway, Gateway]) -> None:
    for gateway in gateways:
        gateway.slow = True
        gateway.refuses = Code.INVALID_ARGUMENT
    with pytest.raises(InvalidArgument):
        client.recall(VECTOR)
    for gateway in gateways:
        gateway.refuses = Code.UNAVAILABLE
    with pytest.raises(Unavailable):
        client.recall(VECTOR)


def test_the_deadline_holds_for_both_calls(client: Client, gateways: tuple[Gateway, Gateway]) -> None:
    for gateway in gateways:
        gateway.slow = True
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.recall(VECTOR, deadline_ms=100)
    assert time.monotonic() - started < SLOW_SECONDS


async def test_the_asyncio_client_does_not_wait_for_a_slow_gateway_either(
    servers: list[Scripted], gateways: tuple[Gateway, Gateway]
) -> None:
    addresses = [server.address for server in servers]
    async with AsyncClient(addresses, KEY, service="films/similar", deadline_ms=5_000) as client:
        for _ in range(LATENCIES_MIN):
            await client.recall(VECTOR)
        last = (await client.recall(VECTOR, exact=True)).version
        slow, other = (gateways[1], gateways[0]) if last == 1 else gateways
        slow.slow = True
        started = time.monotonic()
        assert (await client.recall(VECTOR)).version == other.version
        assert time.monotonic() - started < QUICK_SECONDS_MAX
        assert await asyncio.to_thread(slow.cancelled.wait, SLOW_SECONDS / 2)


async def test_an_asyncio_caller_that_goes_away_takes_both_calls_with_it(
    servers: list[Scripted], gateways: tuple[Gateway, Gateway]
) -> None:
    addresses = [server.address for server in servers]
    async with AsyncClient(addresses, KEY, service="films/similar", deadline_ms=5_000) as client:
        for _ in range(LATENCIES_MIN):
            await client.recall(VECTOR)
        for gateway in gateways:
            gateway.slow = True
        asked = asyncio.create_task(client.recall(VECTOR))
        await asyncio.sleep(0.1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        for gateway in gateways:
            assert await asyncio.to_thread(gateway.cancelled.wait, SLOW_SECONDS / 2)


async def test_closing_the_asyncio_client_ends_a_hedged_call_with_an_error(
    servers: list[Scripted], gateways: tuple[Gateway, Gateway]
) -> None:
    client = AsyncClient([server.address for server in servers], KEY, service="films/similar", deadline_ms=5_000)
    for _ in range(LATENCIES_MIN):
        await client.recall(VECTOR)
    for gateway in gateways:
        gateway.slow = True
    asked = asyncio.create_task(client.recall(VECTOR))
    for gateway in gateways:
        assert await asyncio.to_thread(gateway.asked_while_slow.wait, 5)
    await client.close()
    with pytest.raises(Cancelled):
        await asked


def test_the_delay_is_the_95th_percentile_of_the_newest_calls() -> None:
    hedging = Hedging(on=True)
    for number in range(LATENCIES_MIN):
        assert hedging.delay_seconds("x") is None
        hedging.took("x", number / 100)
    assert hedging.delay_seconds("x") == 0.95
    assert hedging.delay_seconds("y") is None, "each kind has its own"
    for _ in range(LATENCIES_KEPT):
        hedging.took("x", 0.01)
    assert hedging.delay_seconds("x") == 0.01, "what was long ago does not count"


def test_alarms_ring_in_their_order_and_none_after_the_end() -> None:
    alarms = Alarms()
    rang: list[int] = []
    both = threading.Event()
    now = time.monotonic()
    alarms.at(now + 0.05, lambda: (rang.append(2), both.set()))
    alarms.at(now + 0.02, lambda: rang.append(1))
    assert both.wait(5)
    assert rang == [1, 2]
    alarms.at(time.monotonic() + 0.05, lambda: rang.append(3))
    alarms.close()
    time.sleep(0.1)
    assert rang == [1, 2]


def test_an_alarm_that_breaks_is_told_and_later_ones_ring(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms()
    rang = threading.Event()

    def breaks() -> None:
        raise RuntimeError("can't start new thread")

    alarms.at(time.monotonic(), breaks)
    alarms.at(time.monotonic() + 0.02, rang.set)
    assert rang.wait(5)
    alarms.close()
    (told,) = caplog.records
    assert told.exc_info
    assert "can't start new thread" in str(told.exc_info[1])


def test_an_alarm_for_which_no_thread_can_be_started_is_told_and_later_ones_ring(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    alarms = Alarms()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        alarms.at(time.monotonic(), lambda: None)
    assert "no thread for hedges could be started" in caplog.text
    rang = threading.Event()
    alarms.at(time.monotonic(), rang.set)
    assert rang.wait(5), "it tries anew"
    alarms.close()


def test_many_threads_may_share_a_client_that_hedges(
    servers: list[Scripted], gateways: tuple[Gateway, Gateway]
) -> None:
    addresses = [server.address for server in servers]
    with (
        Client(addresses, KEY, service="films/similar", deadline_ms=10_000) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        list(threads.map(lambda _: client.recall(VECTOR), range(LATENCIES_MIN)))
        gateways[0].slow, gateways[0].slow_seconds = True, 0.02
        versions = list(threads.map(lambda _: client.recall(VECTOR).version, range(300)))
    assert len(versions) == 300
    assert set(versions) == {1, 2}
