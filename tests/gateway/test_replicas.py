"""Replicas that die, come back, are slow, or hold another version; and the batches that travel to them."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import grpc
import pytest

from gateway import batching
from recallpb.v1 import recall_pb2
from tests.gateway.harness import FILMS, Harness, query, refusal, route, route_version
from tests.gateway.load import steady_load
from tests.support.exact_replica import ExactReplica

pytestmark = pytest.mark.servers


async def test_a_replica_killed_under_load_and_back_again_fails_no_call(harness: Harness) -> None:
    process = harness.replica_process("r1", version=1)
    harness.publish(route(route_version(1, harness.socket("r1"))))
    await harness.start()
    async with steady_load(harness) as load:
        process.kill()
        process.wait()
        harness.replica_process("r1", version=1)
        answered = len(load.answers)
        await harness.until(lambda: len(load.answers) > answered + 500)


async def test_with_two_replicas_a_kill_is_not_even_slow(harness: Harness) -> None:
    process = harness.replica_process("r1", version=1)
    await harness.replica("r2", version=1)
    harness.publish(route(route_version(1, harness.socket("r1"), harness.socket("r2"))))
    gateway = await harness.start()
    async with steady_load(harness) as load:
        process.send_signal(signal.SIGKILL)
        process.wait()
        answered = len(load.answers)
        started = time.monotonic()
        await harness.until(lambda: len(load.answers) > answered + 500)
        assert time.monotonic() - started < 10
    assert gateway.metrics.registry.get_sample_value("recall_gateway_ejections_total")


async def test_a_replica_that_stays_away_is_unavailable_before_the_deadline(harness: Harness) -> None:
    harness.publish(route(route_version(1, harness.socket("never"))))
    await harness.start()
    started = time.monotonic()
    refused = await refusal(harness.caller().recall(seconds=5.0))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REPLICA_UNAVAILABLE")
    assert time.monotonic() - started < 5.0
    assert refused.retry_seconds > 0


async def test_a_batch_is_tried_again_on_another_replica(harness: Harness) -> None:
    await harness.replica("r2", version=1)
    harness.publish(route(route_version(1, harness.socket("never"), harness.socket("r2"))))
    gateway = await harness.start()
    request = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("")] * 300)
    for _ in range(4):
        answer = await harness.caller().call("BatchRecall", request)
        assert all(result.response.version == 1 for result in answer.results)
    assert gateway.metrics.registry.get_sample_value("recall_gateway_retries_total")


async def test_a_batch_that_no_replica_answers_fails_as_a_whole_would(harness: Harness) -> None:
    harness.publish(route(route_version(1, harness.socket("never"))))
    await harness.start()
    request = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("")] * 70)
    refused = await refusal(harness.caller().call("BatchRecall", request, seconds=1.0))
    assert refused.code is grpc.StatusCode.UNAVAILABLE


async def test_a_replica_with_another_version_is_passed_over(harness: Harness) -> None:
    wrong, right = await harness.replica("wrong", version=2), await harness.replica("right", version=1)
    harness.publish(route(route_version(1, wrong.address, right.address)))
    await harness.start()
    for _ in range(6):
        assert (await harness.caller().recall()).replica == "right"


async def test_only_replicas_with_another_version_are_no_replicas(harness: Harness) -> None:
    wrong = await harness.replica("wrong", version=2)
    harness.publish(route(route_version(1, wrong.address)))
    await harness.start()
    assert (await refusal(harness.caller().recall())).code is grpc.StatusCode.UNAVAILABLE


async def test_items_are_asked_for_again_too(harness: Harness) -> None:
    await harness.replica("r2", version=1)
    harness.publish(route(route_version(1, harness.socket("never"), harness.socket("r2"))))
    await harness.start()
    request = recall_pb2.GetItemsRequest(service=FILMS, items=recall_pb2.ItemIds(ids=[1_000_001]))
    for _ in range(4):
        assert list((await harness.caller().call("GetItems", request)).ids) == [1_000_001]


async def test_the_load_is_spread_over_the_replicas(harness: Harness) -> None:
    replicas = [await harness.replica(name, version=1) for name in ("r1", "r2")]
    harness.publish(route(route_version(1, *(replica.address for replica in replicas))))
    await harness.start()
    async with steady_load(harness) as load:
        await harness.until(lambda: len(load.answers) > 1_000)
    first, second = (sum(replica.batches) for replica in replicas)
    assert 0.2 < first / (first + second) < 0.8


async def test_two_calls_are_under_way_and_the_rest_travels_in_the_next(films: Harness, replica: ExactReplica) -> None:
    replica.delay_seconds = 0.1
    alice = films.caller()
    answers = await asyncio.gather(*(alice.recall() for _ in range(100)))
    assert len(answers) == 100
    assert replica.at_once_max == batching.CALLS_IN_FLIGHT_MAX
    assert len(replica.batches) < 12
    assert max(replica.batches) <= batching.BATCH_QUERIES_MAX


async def take_both_places(films: Harness, replica: ExactReplica) -> list[asyncio.Task[Any]]:
    """Two slow calls, so that what comes next waits and travels together."""
    replica.delay_seconds = 0.8
    alice = films.caller()
    calls = []
    for number in range(1, batching.CALLS_IN_FLIGHT_MAX + 1):
        calls.append(asyncio.create_task(alice.recall()))
        await films.until(lambda number=number: sum(replica.batches) == number)
    return calls


async def test_a_batch_survives_the_cancel_of_one_of_its_callers(films: Harness, replica: ExactReplica) -> None:
    first = await take_both_places(films, replica)
    alice = films.caller()
    calls = [asyncio.create_task(alice.recall()) for _ in range(8)]
    await films.until(lambda: replica.batches == [1, 1, 8])
    calls[0].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.version for answer in (*answers[1:], *await asyncio.gather(*first))] == [1] * 9


async def test_what_nobody_waits_for_any_more_is_never_sent(films: Harness, replica: ExactReplica) -> None:
    sent = await take_both_places(films, replica)
    alice = films.caller()
    late = [refusal(alice.recall(seconds=0.1)) for _ in range(20)]
    assert {refused.code for refused in await asyncio.gather(*late)} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    await asyncio.gather(*sent)
    assert (await alice.recall()).version == 1
    assert sum(replica.batches) == 3


async def test_a_full_queue_refuses_with_the_time_to_come_again(
    films: Harness, replica: ExactReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "QUEUE_QUERIES_MAX", 10)
    replica.delay_seconds = 0.3
    alice = films.caller()
    outcomes = await asyncio.gather(*(alice.recall() for _ in range(100)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert {(error.code, error.reason) for error in refused} == {  # type: ignore[attr-defined]
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    }
    assert 0 < len(refused) < 100
    assert all(error.retry_seconds > 0 for error in refused)  # type: ignore[attr-defined]


async def test_links_of_replicas_that_left_are_closed_after_the_longest_deadline(harness: Harness) -> None:
    old, new = await harness.replica("old", 1), await harness.replica("new", 2)
    harness.publish(route(route_version(1, old.address)))
    gateway = await harness.start(gateway_deadline_ms_max=100)
    assert (await harness.caller().recall()).version == 1
    harness.publish(route(route_version(2, new.address)))
    await harness.until(lambda: len(gateway.balancer.links) == 2)
    await harness.until(lambda: [link.version for link in gateway.balancer.links] == [2])
    assert (await harness.caller().recall()).version == 2
