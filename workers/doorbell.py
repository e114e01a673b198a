"""Ringing for builds without piling up messages: one for each claim of a build in a few seconds."""

from __future__ import annotations

from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

# A message that was lost is missed for so long.
RING_AGAIN_SECONDS = 5
KEY_PREFIX = "recall:rung:"


def may_ring(build_id: int, fence: int) -> bool:
    """Whether nobody has rung for this build, at this fence, lately. Raises redis.RedisError."""
    key = f"{KEY_PREFIX}{build_id}:{fence}"
    return bool(_client(settings.REDIS_URL).set(key, 1, nx=True, ex=RING_AGAIN_SECONDS))


@cache
def _client(url: str) -> redis.Redis:
    seconds = settings.REDIS_TIMEOUT_SECONDS
    return redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 1)
    )
