"""Which keys called which services, on its way from the gateways to the control plane.

    recall:key_uses   hash: "{prefix} tenants/{tenant}/services/{service}" -> "{Unix seconds} {address}"

Each gateway process writes the newest call of each pair of a span, when the span is over; the control plane makes rows
of what is there and takes it away. What Redis loses is told again with the next call of the same key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

KEY_USES_KEY = "recall:key_uses"
KEY_USES_TTL_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A call with the key whose public prefix is `prefix`: of which service (its full name), when, and from where."""

    prefix: str
    service: str
    at_seconds: float
    address: str


class KeyUsesWriter:
    """The gateway's side. asyncio; raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def put(self, uses: Sequence[KeyUse]) -> None:
        """Writes what came last of each key and service; of two gateways the later to write counts."""
        fields: dict[Any, Any] = {f"{use.prefix} {use.service}": f"{use.at_seconds:.3f} {use.address}" for use in uses}
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(KEY_USES_KEY, mapping=fields)
            pipeline.expire(KEY_USES_KEY, KEY_USES_TTL_SECONDS)
            await pipeline.execute()


class KeyUsesReader:
    """The control plane's side. Blocking; raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def take(self) -> list[KeyUse]:
        """What was told since the last time; it is no longer there afterwards."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(KEY_USES_KEY)
            pipeline.delete(KEY_USES_KEY)
            told: Mapping[bytes, bytes] = pipeline.execute()[0]
        return [_use(field.decode(), value.decode()) for field, value in told.items()]


def _use(field: str, value: str) -> KeyUse:
    prefix, _, service = field.partition(" ")
    at, _, address = value.partition(" ")
    return KeyUse(prefix=prefix, service=service, at_seconds=float(at), address=address)
