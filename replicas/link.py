"""The agent's connection to Redis, which may be away, empty, or another server than before at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from documents import store

log = structlog.get_logger()

Result = TypeVar("Result")
# What an absent, hung or half-started server looks like; a malformed URL is a ValueError.
AWAY = (redis.RedisError, OSError, TimeoutError, ValueError)


class RedisAway(Exception):
    """Redis did not answer in time; nothing follows from that but trying again."""


class RedisLink:
    """Documents and hints over connections that are made anew after each failure.

    `address` is asked at each new connection: a restarted server may listen elsewhere.
    """

    def __init__(self, address: Callable[[], str], seconds_max: float) -> None:
        self._address = address
        self._seconds_max = seconds_max
        self._client: redis.asyncio.Redis | None = None
        self._was_up: bool | None = None

    async def use(self, work: Callable[[store.DocumentReader], Awaitable[Result]]) -> Result:
        """What `work` returns. Raises RedisAway."""
        try:
            async with asyncio.timeout(self._seconds_max):
                self._client = self._client or self._connect()
                result = await work(store.DocumentReader(self._client))
        except AWAY as error:
            await self.close()
            self._note(up=False, error=type(error).__name__)
            raise RedisAway(str(error)) from error
        self._note(up=True)
        return result

    async def hear_hints(self, heard: Callable[[str], None]) -> None:
        """Call `heard` with each hint until the connection breaks. Raises RedisAway then."""
        try:
            client = self._connect()
            async with client, client.pubsub() as hints:
                await hints.subscribe(store.HINTS_CHANNEL)
                while True:
                    message = await hints.get_message(ignore_subscribe_messages=True, timeout=self._seconds_max)
                    if message is not None:
                        heard(message["data"].decode(errors="replace"))
        except AWAY as error:
            raise RedisAway(str(error)) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _connect(self) -> redis.asyncio.Redis:
        address = self._address()
        if not address:
            raise ConnectionError("no Redis is configured")
        client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            address,
            socket_timeout=self._seconds_max,
            socket_connect_timeout=self._seconds_max,
            retry=Retry(NoBackoff(), 0),
        )
        return client

    def _note(self, *, up: bool, error: str = "") -> None:
        """One log line for each change, however long Redis stays away."""
        if up is self._was_up:
            return
        self._was_up = up
        if up:
            log.info("redis_up")
        else:
            log.warning("redis_away", error=error)
