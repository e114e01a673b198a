"""What waits for one replica, and how it travels. The replica is scripted; the queue and the loop are real."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from gateway import batching
from gateway.batching import BATCH_QUERIES_MAX, BatchQueue
from gateway.errors import DeadlineExceeded, InvalidRequest, ReplyFull, ResourceExhausted
from gateway.lanes import PIECE_US_MAX, Lane
from gateway.replica_client import AnswerBatch, Outcome, ReplicaClient

DEADLINE_SECONDS = 20.0
SETTLE_SECONDS = 2 * batching.PACE_SECONDS_MAX
# What an ordinary query costs.
PLAIN_US = 250.0


class ScriptedReplica:
    """Answers a call when told to, and notes what happened in order."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[None]] = []
        self.sizes: list[int] = []
        self.lanes: list[Lane] = []
        self.story: list[str] = []

    async def answer(self, batch: AnswerBatch, *, timeout_seconds: float) -> list[Outcome]:
        assert timeout_seconds > 0
        self.story.append("called")
        self.sizes.append(len(batch))
        self.lanes.append(batch.lane)
        self.calls.append(asyncio.get_running_loop().create_future())
        await self.calls[-1]
        return [b"answer"] * len(batch)


def queue_before(replica: ScriptedReplica, lane: Lane = Lane.QUICK) -> BatchQueue:
    return BatchQueue(cast(ReplicaClient, replica), lane, on_batch=lambda _: None, on_result=lambda _: None)


def ask(queue: BatchQueue, payload: bytes = b"query", *, us: float = PLAIN_US) -> asyncio.Task[list[Outcome]]:
    return asyncio.ensure_future(queue.submit([payload], us, time.monotonic() + DEADLINE_SECONDS))


async def settle() -> None:
    """Lets everything run that can run now, calls that were paced included."""
    await asyncio.sleep(SETTLE_SECONDS)


async def test_queries_that_wait_travel_together_up_to_a_full_batch() -> None:
    replica = ScriptedReplica()
    queue = queue_before(replica)
    asked = [ask(queue) for _ in range(2 * BATCH_QUERIES_MAX + 1)]
    await settle()
    assert replica.sizes == [BATCH_QUERIES_MAX, BATCH_QUERIES_MAX]
    replica.calls[0].set_result(None)
    await settle()
    assert replica.sizes == [BATCH_QUERIES_MAX, BATCH_QUERIES_MAX, 1]
    for call in replica.calls[1:]:
        call.set_result(None)
    assert await asyncio.gather(*asked) == [[b"answer"]] * len(asked)
    assert (queue.queued, queue.queued_bytes, queue.sent) == (0, 0, 0)


async def test_the_next_call_leaves_before_the_answers_of_the_last_are_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "PACE_SECONDS_MAX", 0.0)
    replica = ScriptedReplica()
    queue = queue_before(replica)
    asked = [ask(queue) for _ in range(3 * BATCH_QUERIES_MAX)]
    for task in asked:
        task.add_done_callback(lambda _: replica.story.append("answered"))
    await settle()
    assert replica.story == ["called", "called"]
    replica.calls[0].set_result(None)
    await settle()
    assert replica.story[:4] == ["called", "called", "called", "answered"]
    for call in replica.calls[1:]:
        call.set_result(None)
    await asyncio.gather(*asked)


async def test_a_small_query_does_not_travel_with_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES_MAX", 100)
    replica = ScriptedReplica()
    queue = queue_before(replica)
    asked = [ask(queue, b"x" * 90), ask(queue, b"x" * 90), ask(queue, b"small")]
    await settle()
    assert replica.sizes == [1, 2]  # 90 bytes, then 90 and 5.
    for call in replica.calls:
        call.set_result(None)
    await asyncio.gather(*asked)


async def test_one_query_above_the_bytes_of_a_batch_travels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES_MAX", 100)
    replica = ScriptedReplica()
    queue = queue_before(replica)
    asked = [ask(queue, b"x" * 1_000), ask(queue, b"small")]
    await settle()
    assert replica.sizes == [1, 1]
    for call in replica.calls:
        call.set_result(None)
    await asyncio.gather(*asked)


async def test_a_queue_that_holds_too_many_bytes_refuses_with_the_time_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "QUEUE_BYTES_MAX", 100)
    queue = queue_before(replica := ScriptedReplica())
    first = ask(queue, b"x" * 80)
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as refused:
        await queue.submit([b"x" * 30], PLAIN_US, time.monotonic() + DEADLINE_SECONDS)
    assert refused.value.retry_after_seconds > 0
    await settle()
    replica.calls[0].set_result(None)
    assert await first == [b"answer"]


async def answer_after(replica: ScriptedReplica, seconds: float) -> None:
    await asyncio.sleep(seconds)
    replica.calls[-1].set_result(None)


async def started_call(replica: ScriptedReplica, number: int) -> float:
    """When the call was started that is the `number`th, beginning with 1."""
    while len(replica.calls) < number:  # noqa: ASYNC110 (what is waited for is a count)
        await asyncio.sleep(0.001)
    return time.monotonic()


async def test_a_call_waits_the_longer_after_the_last_one_the_fuller_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PACE_SECONDS_MAX", DEADLINE_SECONDS)
    monkeypatch.setattr(batching, "CALL_SECONDS_WEIGHT", 1.0)
    queue = queue_before(replica := ScriptedReplica())
    asked = [ask(queue)]
    await started_call(replica, 1)
    await answer_after(replica, 0.6)  # So long does a call take of late.
    await asyncio.gather(*asked)

    asked = [ask(queue) for _ in range(BATCH_QUERIES_MAX // 2)]
    started = await started_call(replica, 2)
    asked.append(ask(queue))
    half_of_a_call = await started_call(replica, 3) - started
    assert replica.sizes == [1, BATCH_QUERIES_MAX // 2, 1]
    assert 0.28 <= half_of_a_call < 0.55
    replica.calls[1].set_result(None)
    replica.calls[2].set_result(None)
    await asyncio.gather(*asked)


async def test_a_lone_caller_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PACE_SECONDS_MAX", DEADLINE_SECONDS)
    monkeypatch.setattr(batching, "CALL_SECONDS_WEIGHT", 1.0)
    queue = queue_before(replica := ScriptedReplica())
    first = ask(queue)
    await started_call(replica, 1)
    await answer_after(replica, 0.6)
    await first
    second = ask(queue)
    started = await started_call(replica, 2)
    third = ask(queue)
    assert await started_call(replica, 3) - started < 0.3
    for call in replica.calls[1:]:
        call.set_result(None)
    await asyncio.gather(second, third)


async def test_a_request_that_fits_no_frame_does_not_count_against_the_replica() -> None:
    class Refusing(ScriptedReplica):
        async def answer(self, batch: AnswerBatch, *, timeout_seconds: float) -> list[Outcome]:
            raise InvalidRequest("", "REQUEST_TOO_LARGE", "too large")

    results: list[bool] = []
    replica = cast(ReplicaClient, Refusing())
    queue = BatchQueue(replica, Lane.QUICK, on_batch=lambda _: None, on_result=results.append)
    with pytest.raises(InvalidRequest):
        await ask(queue)
    assert results == []


async def test_a_costly_call_holds_what_fits_its_price_and_leaves_at_once() -> None:
    queue = queue_before(replica := ScriptedReplica(), Lane.COSTLY)
    asked = [ask(queue, us=PIECE_US_MAX / 4) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert (replica.sizes, set(replica.lanes)) == ([4, 4], {Lane.COSTLY})
    replica.calls[0].set_result(None)
    await asyncio.sleep(0.01)
    assert replica.sizes == [4, 4, 2]
    for call in replica.calls[1:]:
        call.set_result(None)
    await asyncio.gather(*asked)


async def test_a_query_that_costs_more_than_a_call_may_travels_alone() -> None:
    queue = queue_before(replica := ScriptedReplica(), Lane.COSTLY)
    asked = [ask(queue, us=us) for us in (10 * PIECE_US_MAX, 1.0, 1.0)]
    await settle()
    assert replica.sizes == [1, 2]
    for call in replica.calls:
        call.set_result(None)
    await asyncio.gather(*asked)


async def test_the_dearest_quick_queries_do_not_fill_a_call_and_ordinary_ones_do() -> None:
    queue = queue_before(replica := ScriptedReplica())
    dear = [ask(queue, us=5_000.0) for _ in range(10)]
    await settle()
    assert replica.sizes == [8, 2]
    for call in replica.calls:
        call.set_result(None)
    await asyncio.gather(*dear)
    ordinary = [ask(queue) for _ in range(BATCH_QUERIES_MAX)]
    await settle()
    assert replica.sizes[2:] == [BATCH_QUERIES_MAX]
    replica.calls[-1].set_result(None)
    await asyncio.gather(*ordinary)


@pytest.mark.parametrize("lane", Lane)
async def test_queries_that_nobody_waits_for_any_more_are_not_sent(lane: Lane) -> None:
    queue = queue_before(replica := ScriptedReplica(), lane)
    under_way = []
    for _ in range(batching.CALLS_IN_FLIGHT_MAX):
        under_way.append(ask(queue, us=PIECE_US_MAX))
        await settle()
    sent = len(replica.calls)
    late = asyncio.ensure_future(queue.submit([b"late"], PLAIN_US, time.monotonic() + 0.02))
    cancelled, patient = ask(queue), ask(queue)
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(DeadlineExceeded):
        await late
    for call in list(replica.calls):
        call.set_result(None)
    await asyncio.gather(*under_way)
    await settle()
    assert replica.sizes[sent:] == [1]
    replica.calls[-1].set_result(None)
    assert await patient == [b"answer"]
    assert (queue.queued, queue.queued_bytes, queue.sent) == (0, 0, 0)


async def test_a_costly_call_that_ran_out_of_time_does_not_count_against_the_replica_so_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(ScriptedReplica):
        async def answer(self, batch: AnswerBatch, *, timeout_seconds: float) -> list[Outcome]:
            await asyncio.sleep(timeout_seconds)
            raise DeadlineExceeded

    monkeypatch.setattr(batching, "SLOW_CALL_SECONDS", {Lane.QUICK: 0.1, Lane.COSTLY: 10.0})
    results: dict[Lane, list[bool]] = {lane: [] for lane in Lane}
    for lane, heard in results.items():
        queue = BatchQueue(cast(ReplicaClient, Silent()), lane, on_batch=lambda _: None, on_result=heard.append)
        with pytest.raises(DeadlineExceeded):
            await queue.submit([b"query"], PLAIN_US, time.monotonic() + 0.2)
        await asyncio.sleep(2 * batching.CALL_GRACE_SECONDS)
    assert results == {Lane.QUICK: [False], Lane.COSTLY: []}


class ScantReplica(ScriptedReplica):
    """Has room for so many answers in a reply, whatever was asked."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.asked: list[bytes] = []

    async def answer(self, batch: AnswerBatch, *, timeout_seconds: float) -> list[Outcome]:
        assert timeout_seconds > 0
        payloads = list(batch.question(version=1).answer.requests)
        self.sizes.append(len(payloads))
        self.asked += payloads
        answered: list[Outcome] = [b"answer to " + payload for payload in payloads[: self.room]]
        return answered + [ReplyFull(self.room)] * (len(payloads) - len(answered))


@pytest.mark.parametrize("lane", Lane)
async def test_whose_answers_found_no_room_are_asked_again_in_calls_that_have_it(lane: Lane) -> None:
    replica = ScantReplica(room=3)
    queue = queue_before(replica, lane)
    payloads = [b"%d" % number for number in range(20)]
    answers = await asyncio.gather(*(ask(queue, payload, us=1.0) for payload in payloads))
    assert answers == [[b"answer to " + payload] for payload in payloads]
    assert (replica.sizes[0], max(replica.sizes[1:])) == (20, 3)
    assert len(replica.asked) == 20 + 17, "nobody is asked more than once again"
    assert (queue.queued, queue.queued_bytes, queue.sent) == (0, 0, 0)


async def test_a_piece_of_a_batch_is_asked_again_for_what_found_no_room_and_no_more() -> None:
    queue = queue_before(replica := ScantReplica(room=4), Lane.COSTLY)
    payloads = [b"%d" % number for number in range(10)]
    answers = await queue.submit(payloads, PLAIN_US, time.monotonic() + DEADLINE_SECONDS)
    assert answers == [b"answer to " + payload for payload in payloads]
    assert (replica.sizes, replica.asked[10:]) == ([10, 4, 2], payloads[4:])


async def test_who_found_no_room_waits_no_longer_than_its_deadline() -> None:
    class Silent(ScantReplica):
        async def answer(self, batch: AnswerBatch, *, timeout_seconds: float) -> list[Outcome]:
            if self.sizes:
                await asyncio.sleep(timeout_seconds)
            return await super().answer(batch, timeout_seconds=timeout_seconds)

    queue = queue_before(Silent(room=1))
    asked = [queue.submit([b"query"], PLAIN_US, time.monotonic() + 0.2) for _ in range(2)]
    answered, late = await asyncio.gather(*asked, return_exceptions=True)
    assert answered == [b"answer to query"]
    assert isinstance(late, DeadlineExceeded)


@pytest.mark.parametrize("give_up", ["expires", "is cancelled"])
async def test_who_gives_up_leaves_its_room_in_the_queue_while_calls_are_stuck(
    monkeypatch: pytest.MonkeyPatch, give_up: str
) -> None:
    monkeypatch.setattr(batching, "QUEUE_QUERIES_MAX", 100)
    queue = queue_before(replica := ScriptedReplica())
    stuck = []
    for _ in range(batching.CALLS_IN_FLIGHT_MAX):
        stuck.append(ask(queue))
        await settle()
    patient = ask(queue, b"patient")
    seconds = 0.02 if give_up == "expires" else DEADLINE_SECONDS
    given_up = [asyncio.ensure_future(queue.submit([b"x"], PLAIN_US, time.monotonic() + seconds)) for _ in range(99)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await queue.submit([b"x"], PLAIN_US, time.monotonic() + DEADLINE_SECONDS)
    if give_up == "is cancelled":
        for task in given_up:
            task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    assert (queue.queued, queue.queued_bytes) == (1, len(b"patient"))
    assert queue.load == 1 + batching.CALLS_IN_FLIGHT_MAX

    newcomer = ask(queue)
    for call in list(replica.calls):
        call.set_result(None)
    await settle()
    replica.calls[-1].set_result(None)
    assert await asyncio.gather(patient, newcomer, *stuck) == [[b"answer"]] * 4
    assert replica.sizes == [1, 1, 2]
    assert (queue.queued, queue.queued_bytes, queue.sent) == (0, 0, 0)
