"""One replica's queue in one lane: at most two calls under way, and what arrives meanwhile travels in the next.

A call costs gateway and replica as much as several queries do, and sent as they trickle in, most queries would travel
alone. So between two calls passes some of the time that one takes, the more the fuller the last one was: a lone caller
waits for nothing; the busier the machine, the more queries gather, for a wait that is small beside the one they have
anyway. With 128 callers on two busy cores, mean batches went from 5 to 40 queries, queries a second up by 70 %, and p99
down; with 16 callers, waiting for a whole call's time would cost a quarter of the throughput.

A call carries the latest deadline of its jobs and belongs to nobody, so that one caller's cancel or deadline ends
that caller's wait and nothing else. A job that nobody waits for any more leaves the queue at once, and its room is
another's.

A call's reply has a limit, and what each answer takes of it is known only there. Those that found no room are asked for
again, in calls of no more queries than found some: nobody is refused for what others asked for.

Costly queries have a queue of their own beside the quick ones' (see `lanes`), whose calls are bounded by price and
never wait for more: they are large as they are.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    InternalError,
    InvalidRequest,
    ReplicaLost,
    ReplyFull,
    ResourceExhausted,
)
from gateway.lanes import PIECE_US_MAX, Lane
from gateway.replica_client import AnswerBatch, Outcome, ReplicaClient

CALLS_IN_FLIGHT_MAX = 2
BATCH_QUERIES_MAX = 128
# Between the starts of two calls passes at most what a call takes of late, and so long. A full batch does not wait.
PACE_SECONDS_MAX = 0.03
# Rounds of the loop until a call that may start is on its way: the send, its task, and the loop's own write.
ROUNDS_UNTIL_SENT = 3
# How much the newest call counts in the mean of what a call takes.
CALL_SECONDS_WEIGHT = 0.2
# So that a small query never shares a message with so many large ones that the replica refuses all of them.
BATCH_BYTES_MAX = 8 * 2**20
QUEUE_QUERIES_MAX = 4_000
QUEUE_BYTES_MAX = 256 * 2**20
RETRY_AFTER_SECONDS = 0.1
# What a call may take beyond its latest deadline, so that the replica's own refusal arrives before our time-out.
CALL_GRACE_SECONDS = 0.05
# A call that ran out of time counts against the replica only if it had this long: short deadlines are the caller's. One
# costly query may well take seconds.
SLOW_CALL_SECONDS = {Lane.QUICK: 0.5, Lane.COSTLY: 5.0}
# Microseconds of the replica's work in one call; a single job may cost more. A full call of ordinary queries is within
# it, and one of the dearest queries that are quick holds few.
CALL_US_MAX = {Lane.QUICK: 40_000, Lane.COSTLY: PIECE_US_MAX}


class Job:
    """Some queries that wait, travel and are answered together, and the future their caller waits for.

    They travel in a call of at most `call_queries_max` queries.
    """

    __slots__ = ("bytes", "call_queries_max", "deadline", "enqueued_at", "future", "payloads", "us")

    def __init__(
        self,
        payloads: list[bytes],
        us: float,
        deadline: float,
        call_queries_max: int,
        now: float,
        future: asyncio.Future[list[Outcome]],
    ) -> None:
        self.payloads = payloads
        self.call_queries_max = call_queries_max
        self.bytes = sum(map(len, payloads))
        self.us = us
        self.deadline = deadline
        self.enqueued_at = now
        self.future = future

    def expire(self) -> None:
        self.fail(DeadlineExceeded())

    def fail(self, error: GatewayError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def answer(self, outcomes: list[Outcome]) -> None:
        if not self.future.done():
            self.future.set_result(outcomes)


class BatchQueue:
    """Belongs to the event loop's thread. `on_batch` hears of each call's size, `on_result` of success or failure."""

    def __init__(
        self, client: ReplicaClient, lane: Lane, *, on_batch: Callable[[int], None], on_result: Callable[[bool], None]
    ) -> None:
        self._client = client
        self._lane = lane
        self._call_us_max = CALL_US_MAX[lane]
        self._on_batch = on_batch
        self._on_result = on_result
        self._loop = asyncio.get_running_loop()
        # In the order in which they came; a dict, because callers give up from anywhere in the line.
        self._waiting: OrderedDict[Job, None] = OrderedDict()
        self._calls: set[asyncio.Task[None]] = set()
        self._next_send: asyncio.Handle | None = None
        self._next_send_is_now = False
        self._sent_at = 0.0
        self._queries_sent_last = 0
        self._call_seconds = 0.0
        self.queued = 0
        self.queued_bytes = 0
        self.sent = 0

    @property
    def load(self) -> int:
        """Queries that wait or travel."""
        return self.queued + self.sent

    async def submit(
        self, payloads: list[bytes], us: float, deadline: float, call_queries_max: int = BATCH_QUERIES_MAX
    ) -> list[Outcome]:
        """An outcome for each payload, in order. `us` is the price of all, `deadline` is of time.monotonic().

        Raises ResourceExhausted when the queue is full, DeadlineExceeded, ReplicaLost when the call failed.
        """
        outcomes = await self._submit(payloads, us, deadline, call_queries_max)
        rooms = {place: outcome.room for place, outcome in enumerate(outcomes) if isinstance(outcome, ReplyFull)}
        if rooms:
            await self._ask_again(payloads, us / len(payloads), deadline, outcomes, rooms)
        return outcomes

    async def _ask_again(
        self, payloads: list[bytes], us_each: float, deadline: float, outcomes: list[Outcome], rooms: dict[int, int]
    ) -> None:
        """Fills in the outcomes at the places of `rooms`, by how many answers their reply had room for.

        It ends: a reply without room for all answers fewer than came.
        """
        left, room = list(rooms), min(rooms.values())
        parts = [left[start : start + room] for start in range(0, len(left), room)]
        again = (
            self.submit([payloads[place] for place in part], us_each * len(part), deadline, room) for part in parts
        )
        for part, answers in zip(parts, await asyncio.gather(*again), strict=True):
            for place, answer in zip(part, answers, strict=True):
                outcomes[place] = answer

    async def _submit(self, payloads: list[bytes], us: float, deadline: float, call_queries_max: int) -> list[Outcome]:
        now = time.monotonic()
        job = Job(payloads, us, deadline, call_queries_max, now, self._loop.create_future())
        if self.queued + len(payloads) > QUEUE_QUERIES_MAX or self.queued_bytes + job.bytes > QUEUE_BYTES_MAX:
            message = "too many queries wait for this service's replica"
            raise ResourceExhausted("OVERLOADED", message, retry_after_seconds=RETRY_AFTER_SECONDS)
        self._waiting[job] = None
        self.queued += len(payloads)
        self.queued_bytes += job.bytes
        if len(self._calls) < CALLS_IN_FLIGHT_MAX:
            self._send_soon(now)
        timer = self._loop.call_later(deadline - now, job.expire)
        try:
            return await job.future
        finally:
            timer.cancel()
            if job in self._waiting:
                self._drop(job)

    async def close(self) -> None:
        """Ends the calls under way; their callers hear ReplicaLost."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        for job in self._waiting:
            job.fail(ReplicaLost())

    def _send_soon(self, now: float) -> None:
        """Sees to it that a call starts when its time has come."""
        # A costly call is large as it is.
        waits_for_none = self.queued >= BATCH_QUERIES_MAX or self._lane is Lane.COSTLY
        if self._next_send and (self._next_send_is_now or not waits_for_none):
            return
        if self._next_send:
            self._next_send.cancel()
        wait_seconds = 0.0 if waits_for_none else self._wait_seconds(now)
        self._next_send_is_now = wait_seconds <= 0
        if self._next_send_is_now:
            # At the end of this round of the loop, so that requests that arrived together travel together.
            self._next_send = self._loop.call_soon(self._send_now)
        else:
            self._next_send = self._loop.call_later(wait_seconds, self._send_now)

    def _wait_seconds(self, now: float) -> float:
        fullness = self._queries_sent_last / BATCH_QUERIES_MAX
        return self._sent_at + min(self._call_seconds * fullness, PACE_SECONDS_MAX) - now

    def _send_now(self) -> None:
        self._next_send = None
        if len(self._calls) >= CALLS_IN_FLIGHT_MAX:
            return
        jobs = self._take()
        if not jobs:
            return
        self._sent_at = time.monotonic()
        self._queries_sent_last = sum(len(job.payloads) for job in jobs)
        call = self._loop.create_task(self._send(jobs))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        if self._waiting and len(self._calls) < CALLS_IN_FLIGHT_MAX:
            self._send_soon(self._sent_at)

    def _take(self) -> list[Job]:
        """The next jobs that somebody still waits for, up to a batch."""
        jobs: list[Job] = []
        queries = size = 0
        us = 0.0
        queries_max = BATCH_QUERIES_MAX
        while self._waiting and queries < queries_max:
            job = next(iter(self._waiting))
            if job.future.done():
                self._drop(job)
                continue
            queries += len(job.payloads)
            size += job.bytes
            us += job.us
            queries_max = min(queries_max, job.call_queries_max)
            if jobs and (queries > queries_max or size > BATCH_BYTES_MAX or us > self._call_us_max):
                break
            self._drop(job)
            jobs.append(job)
        return jobs

    def _drop(self, job: Job) -> None:
        del self._waiting[job]
        self.queued -= len(job.payloads)
        self.queued_bytes -= job.bytes

    async def _send(self, jobs: list[Job]) -> None:
        started = time.monotonic()
        batch = AnswerBatch(started, self._lane)
        for job in jobs:
            batch.add(job.payloads, job.deadline, job.enqueued_at)
        queries = len(batch)
        self.sent += queries
        self._on_batch(queries)
        try:
            outcomes = await self._client.answer(batch, timeout_seconds=batch.seconds_left() + CALL_GRACE_SECONDS)
        except DeadlineExceeded as error:
            self._fail(jobs, error, replica_failed=time.monotonic() - started >= SLOW_CALL_SECONDS[self._lane])
        except GatewayError as error:
            self._fail(jobs, error, replica_failed=not isinstance(error, InvalidRequest))
        except asyncio.CancelledError:
            self._fail(jobs, ReplicaLost())
            raise
        except Exception as error:  # noqa: BLE001 (nobody awaits this task: the jobs hear of it, their edge logs it)
            self._fail(jobs, InternalError(f"{type(error).__name__}: {error}"))
        else:
            self._call_seconds += (time.monotonic() - started - self._call_seconds) * CALL_SECONDS_WEIGHT
            await self._let_the_next_go()
            self._deliver(jobs, outcomes)
        finally:
            self.sent -= queries

    async def _let_the_next_go(self) -> None:
        """Has the replica at work again before this call's answers are written to their callers, which takes longer."""
        task = asyncio.current_task()
        if task is not None:
            self._calls.discard(task)
        if not self._waiting:
            return
        self._send_soon(time.monotonic())
        for _ in range(ROUNDS_UNTIL_SENT if self._next_send_is_now else 0):
            await asyncio.sleep(0)

    def _deliver(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        self._on_result(True)
        start = 0
        for job in jobs:
            end = start + len(job.payloads)
            job.answer(outcomes[start:end])
            start = end

    def _fail(self, jobs: list[Job], error: GatewayError, *, replica_failed: bool = True) -> None:
        if replica_failed:
            self._on_result(False)
        for job in jobs:
            job.fail(error)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._waiting and len(self._calls) < CALLS_IN_FLIGHT_MAX:
            self._send_soon(time.monotonic())
