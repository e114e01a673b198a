"""One connection pool per process, with short time-outs: a page never hangs on Redis."""

from __future__ import annotations

from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from documents.key_uses import KeyUsesReader
from documents.store import DocumentWriter
from documents.traffic import TrafficReader

# A connection that the server has closed meanwhile is opened once more, at once.
RETRIES_MAX = 1


def writer() -> DocumentWriter:
    """Raises nothing itself; its methods raise redis.RedisError when Redis is away."""
    return _writer(settings.REDIS_URL)


def traffic() -> TrafficReader:
    """As `writer`."""
    return TrafficReader(_client(settings.REDIS_URL))


def key_uses() -> KeyUsesReader:
    """As `writer`."""
    return KeyUsesReader(_client(settings.REDIS_URL))


@cache
def _writer(url: str) -> DocumentWriter:
    return DocumentWriter(_client(url))


@cache
def _client(url: str) -> redis.Redis:
    seconds = settings.REDIS_TIMEOUT_SECONDS
    retry = Retry(NoBackoff(), RETRIES_MAX)
    return redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=retry)
