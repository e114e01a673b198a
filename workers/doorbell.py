"""Ringing for builds without piling up messages: one for each claim of a build in a few seconds. And ticks that may be
long: one of a kind at a time, so that they leave other workers free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

# A message that was lost is missed for so long.
RING_AGAIN_SECONDS = 5
KEY_PREFIX = "recall:rung:"
TICK_PREFIX = "recall:tick:"


def may_ring(build_id: int, fence: int) -> bool:
    """Whether nobody has rung for this build, at this fence, lately. Raises redis.RedisError."""
    key = f"{KEY_PREFIX}{build_id}:{fence}"
    return bool(_client(settings.REDIS_URL).set(key, 1, nx=True, ex=RING_AGAIN_SECONDS))


@contextmanager
def alone(tick: str, *, seconds_max: int) -> Iterator[bool]:
    """Whether no other worker is in this tick; one that died in it is forgotten after `seconds_max`.

    Only saves work: what must not happen twice is guarded by rows. Raises redis.RedisError.
    """
    key = f"{TICK_PREFIX}{tick}"
    mine = bool(_client(settings.REDIS_URL).set(key, 1, nx=True, ex=seconds_max))
    try:
        yield mine
    finally:
        if mine:
            _client(settings.REDIS_URL).delete(key)


@cache
def _client(url: str) -> redis.Redis:
    seconds = settings.REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 1)
    )
