"""Is the platform well? One word for each part, and no internals, because anybody may ask."""

from __future__ import annotations

import logging
from typing import Any

import redis
from django.conf import settings
from django.db import Error, connection

from documents.store import DocumentWriter

log = logging.getLogger(__name__)

OK, DEGRADED, DOWN, UNKNOWN = "ok", "degraded", "down", "unknown"
REDIS_TIMEOUT_SECONDS = 1


def platform_health() -> dict[str, str]:
    """`{"status", "database", "redis", "gateways"}`. Down is only what stops the control plane: its database."""
    database = _database()
    redis_word, gateways = _redis_and_gateways()
    whole = OK if (database, redis_word, gateways) == (OK, OK, OK) else DEGRADED
    return {
        "status": whole if database == OK else DOWN,
        "database": database,
        "redis": redis_word,
        "gateways": gateways,
    }


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        log.exception("The database does not answer")
        return DOWN
    return OK


def _redis_and_gateways() -> tuple[str, str]:
    """A gateway is there while its lease is; without Redis nobody can tell from here."""
    timeouts: dict[str, Any] = {
        "socket_timeout": REDIS_TIMEOUT_SECONDS,
        "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
    }
    with redis.Redis.from_url(settings.REDIS_URL, **timeouts) as client:
        try:
            leases = DocumentWriter(client).gateway_reports()
        except redis.RedisError as error:
            log.warning("Redis does not answer: %s", error)
            return DOWN, UNKNOWN
    return OK, OK if leases else DOWN
