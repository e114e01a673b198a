"""A connection to one replica: the gateway's edge towards the inside. The only module that speaks ReplicaService."""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio

from gateway import statuses
from gateway.errors import DeadlineExceeded, GatewayError, InternalError, ReplicaLost, Unavailable
from recallpb.internal.v1 import replica_pb2

SERVICE = "/recallpb.internal.v1.ReplicaService"
# A full batch of vectors; the replica keeps its own limit below this.
MESSAGE_BYTES_MAX = 128 * 2**20
# A respawned replica is found again within a fraction of a second; 100 ms is the least that grpc takes.
RECONNECT_MS_MIN = 100
RECONNECT_MS_MAX = 200
CONNECT_ATTEMPT_MS_MAX = 1_000
LOSS_SETTLES_SECONDS = 0.05
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_MIN),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
    ("grpc.min_reconnect_backoff_ms", CONNECT_ATTEMPT_MS_MAX),
    # Channels of different versions share neither connection nor backoff.
    ("grpc.use_local_subchannel_pool", 1),
)

Outcome = bytes | GatewayError

# Statuses of a whole call that mean: this replica cannot answer now, another one may.
LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.CANCELLED})
# Statuses of a whole call whose words are meant for the caller.
SAID_BY_THE_REPLICA = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED})


class AnswerBatch:
    """The message of one Answer call while it is put together. `now` is of time.monotonic()."""

    __slots__ = ("_deadline", "_deadlines_ms", "_now", "_payloads", "_queued_us")

    def __init__(self, now: float) -> None:
        self._now = now
        self._deadline = now
        self._payloads: list[bytes] = []
        self._deadlines_ms: list[int] = []
        self._queued_us: list[int] = []

    def __len__(self) -> int:
        return len(self._payloads)

    def add(self, payloads: list[bytes], deadline: float, enqueued_at: float) -> None:
        self._payloads += payloads
        # At least 1: a 0 would mean no deadline.
        self._deadlines_ms += [max(1, int((deadline - self._now) * 1e3))] * len(payloads)
        self._queued_us += [int((self._now - enqueued_at) * 1e6)] * len(payloads)
        self._deadline = max(self._deadline, deadline)

    def seconds_left(self) -> float:
        """Until the latest deadline."""
        return self._deadline - self._now

    def message(self, version: int) -> replica_pb2.AnswerRequest:
        return replica_pb2.AnswerRequest(
            requests=self._payloads, deadlines_ms=self._deadlines_ms, queued_us=self._queued_us, version=version
        )


class ReplicaClient:
    """Belongs to the event loop it was made in."""

    def __init__(self, address: str, version: int) -> None:
        self._version = version
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._answer = self._channel.unary_unary(
            f"{SERVICE}/Answer",
            request_serializer=replica_pb2.AnswerRequest.SerializeToString,
            response_deserializer=replica_pb2.AnswerResponse.FromString,
        )
        self._get_items: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            f"{SERVICE}/GetItems"
        )
        self._reconnect: asyncio.Task[None] | None = None
        self._channel.get_state(try_to_connect=True)

    async def answer(self, batch: AnswerBatch, *, timeout_seconds: float) -> list[Outcome]:
        """An outcome for each query of the batch. Raises ReplicaLost, DeadlineExceeded or InternalError for all."""
        try:
            response = await self._answer(batch.message(self._version), timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise _call_error(error) from error
        if len(response.answers) != len(batch):
            raise InternalError(f"{len(response.answers)} answers to {len(batch)} queries")
        return [answer.response or _query_error(answer) for answer in response.answers]

    async def get_items(self, payload: bytes, deadline: float) -> bytes:
        """A serialised GetItemsResponse. Raises what the replica says of the request, or as `answer`."""
        try:
            reply: bytes = await self._get_items(payload, timeout=max(0.0, deadline - time.monotonic()))
        except grpc.aio.AioRpcError as error:
            raise _call_error(error) from error
        return reply

    async def reconnected(self, patience_seconds: float) -> None:
        """Waits until the connection stands again. Raises Unavailable when that takes longer."""
        # For a moment after a loss the channel still calls itself ready.
        await asyncio.sleep(LOSS_SETTLES_SECONDS)
        if self._reconnect is None or self._reconnect.done():
            self._reconnect = asyncio.create_task(self._channel.channel_ready())
        done, _ = await asyncio.wait({self._reconnect}, timeout=patience_seconds)
        if not done:
            raise Unavailable("REPLICA_UNAVAILABLE", "no replica of the version answers just now; try again")

    async def close(self) -> None:
        if self._reconnect:
            self._reconnect.cancel()
        await self._channel.close()


def _call_error(error: grpc.aio.AioRpcError) -> GatewayError:
    code = error.code()
    if code in LOST:
        return ReplicaLost()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded()
    if code in SAID_BY_THE_REPLICA:
        return statuses.read_status(error)
    return InternalError(f"replica: {code.name}: {error.details()}")


def _query_error(answer: replica_pb2.Answer) -> GatewayError:
    error = answer.error
    return statuses.error_of(error.code, reason=error.reason, message=error.message, field=error.field)
