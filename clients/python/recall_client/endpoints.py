"""Endpoints and how they are taken in turn, the channel's options, a call's deadline, and when it is tried again.

Retries are made here and not by gRPC, because gRPC would try the same endpoint again. Only UNAVAILABLE is retried: the
gateway gives it when it did no work.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message_factory import GetMessageClass

from recallpb.v1 import recall_pb2, recall_pb2_grpc

_SERVICE = recall_pb2.DESCRIPTOR.services_by_name["RecallService"]

DEADLINE_MS = 500
ATTEMPTS_MAX = 3
RETRY_PAUSE_MS = 20
RETRY_PAUSE_MS_MAX = 200
# Retries stop when more than about a tenth of the calls needs one, so that they never add to an overload.
RETRY_TOKENS_MAX = 10.0
RETRY_TOKENS_PER_SUCCESS = 0.1
# An endpoint that was unavailable is passed over for so long.
REST_SECONDS = 1.0

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
# Pings go out only while calls are under way, where any server permits them; an idle client is silent.
KEEPALIVE_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 5_000
RECONNECT_MS = 100
RECONNECT_MS_MAX = 2_000

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
    # A name with several addresses is used evenly.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # Each client has connections of its own, so that two of them reach two gateways behind one port.
    ("grpc.use_local_subchannel_pool", 1),
)


def targets_of(target: str | Sequence[str]) -> list[str]:
    targets = [target] if isinstance(target, str) else list(target)
    if not targets:
        raise ValueError("Name at least one gateway: 'host:port'.")
    return targets


def end_of_call(deadline_ms: float) -> float:
    """When a call that starts now must have ended, of time.monotonic()."""
    if not deadline_ms > 0:
        raise ValueError(f"deadline_ms is {deadline_ms}; it must be above 0.")
    return time.monotonic() + deadline_ms / 1000


@dataclass
class Endpoint:
    """One gateway, or one name of several. `rests_until`: time.monotonic() before which others are preferred."""

    channel: grpc.Channel | grpc.aio.Channel
    stub: Any
    rests_until: float = 0.0
    _streams: dict[str, Any] = field(default_factory=dict)

    def stream(self, method: str) -> Any:
        """The same call as `stub` has under this name, for a response that is read like a stream."""
        if method not in self._streams:
            described = _SERVICE.methods_by_name[method]
            request, response = (GetMessageClass(one) for one in (described.input_type, described.output_type))
            path = f"/{_SERVICE.full_name}/{method}"
            self._streams[method] = self.channel.unary_stream(path, request.SerializeToString, response.FromString)
        return self._streams[method]


class Turns:
    """Hands out endpoints in turn, passing over those that were unavailable a moment ago while others are not.

    It begins anywhere, so that many clients do not all begin at the same one.
    """

    def __init__(self, channels: Sequence[grpc.Channel | grpc.aio.Channel]) -> None:
        self._endpoints = [Endpoint(channel, _stub(channel)) for channel in channels]
        self._next = random.randrange(len(self._endpoints))  # noqa: S311  (spreads load, guards nothing)

    def __len__(self) -> int:
        return len(self._endpoints)

    def take(self, *, avoid: Endpoint | None = None) -> Endpoint:
        """The next one; `avoid` only when there is no other."""
        now = time.monotonic()
        count = len(self._endpoints)
        in_turn = [self._endpoints[(self._next + step) % count] for step in range(1, count + 1)]
        in_turn = [endpoint for endpoint in in_turn if endpoint is not avoid] or in_turn
        chosen = next((endpoint for endpoint in in_turn if endpoint.rests_until <= now), in_turn[0])
        self._next = self._endpoints.index(chosen)
        return chosen

    def failed(self, endpoint: Endpoint, code: grpc.StatusCode) -> None:
        """After a failed call: was the endpoint unavailable, the others are preferred for a moment."""
        if code is grpc.StatusCode.UNAVAILABLE:
            endpoint.rests_until = time.monotonic() + REST_SECONDS


class RetryBudget:
    """Permits retries while at least half of the tokens are there; a retry costs one, a success earns a tenth."""

    def __init__(self) -> None:
        self._tokens = RETRY_TOKENS_MAX
        self._lock = threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._tokens = min(RETRY_TOKENS_MAX, self._tokens + RETRY_TOKENS_PER_SUCCESS)

    def spend(self) -> bool:
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > RETRY_TOKENS_MAX / 2


def pause_seconds(attempt: int) -> float:
    """How long to wait after the failed attempt number `attempt` (from 1): doubling, with jitter."""
    bound_ms = min(RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS << (attempt - 1))
    return random.uniform(0.5, 1.0) * bound_ms / 1000  # noqa: S311  (spreads load, guards nothing)


def worth_a_retry(code: grpc.StatusCode, attempt: int, seconds_left: float, budget: RetryBudget) -> bool:
    """Whether an attempt that ended with `code`, number `attempt` from 1, is followed by another one."""
    is_unavailable = code is grpc.StatusCode.UNAVAILABLE
    return is_unavailable and attempt < ATTEMPTS_MAX and seconds_left > 0 and budget.spend()


def _stub(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    """The generated stub; it is generated without types."""
    make: Any = recall_pb2_grpc.RecallServiceStub
    return make(channel)
