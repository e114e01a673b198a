"""Routes from Redis: stamps compared every second, and a hint that makes a change arrive within milliseconds.

Redis away, or empty, changes nothing. What was read is newer than what is held, or it is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import redis
import redis.asyncio
import structlog

from documents.store import HINTS_CHANNEL, POLL_SECONDS, ROUTES, DocumentReader
from gateway.routes import Routes

log = structlog.get_logger(__name__)

REDIS_TIMEOUT_SECONDS = 1.0
HINT_WAIT_SECONDS = 5.0
RECONNECT_SECONDS = 0.2
# Of one round; a first start with many services takes several rounds of pages within `documents`.
ROUND_SECONDS_MAX = 30.0

REDIS_AWAY = (redis.RedisError, OSError, TimeoutError)


class RedisConnection:
    """A client of wherever Redis is now: its address is asked for again when it is away."""

    def __init__(self, find_url: Callable[[], str]) -> None:
        self._find_url = find_url
        self._url = ""
        self._client: redis.asyncio.Redis | None = None
        self.away = False

    async def client(self) -> redis.asyncio.Redis:
        """Raises redis.ConnectionError when no address is known."""
        if self._client is None or (self.away and self._find_url() != self._url):
            await self.close()
            self._url = self._find_url()
            if not self._url:
                raise redis.ConnectionError("no Redis is configured")
            self._client = redis.asyncio.Redis.from_url(
                self._url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
            )
        return self._client

    def seen(self, *, away: bool, cause: object = "") -> None:
        """Remembers, and logs, that Redis went or came back."""
        if away and not self.away:
            log.warning("redis.away", cause=str(cause))
        if self.away and not away:
            log.info("redis.back")
        self.away = away

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class RouteFeed:
    """Keeps Routes as new as Redis is."""

    def __init__(self, routes: Routes, connection: RedisConnection) -> None:
        self._routes = routes
        self._connection = connection
        self.fresh_at = 0.0

    async def run(self) -> None:
        """Polls and listens until cancelled."""
        await asyncio.gather(self._poll_forever(), self._listen_forever())

    async def poll(self) -> bool:
        """One comparison with Redis; False when Redis is away."""
        try:
            async with asyncio.timeout(ROUND_SECONDS_MAX):
                await self._fetch_newer()
        except REDIS_AWAY as error:
            self._connection.seen(away=True, cause=error)
            return False
        self._connection.seen(away=False)
        self.fresh_at = time.monotonic()
        return True

    async def _fetch_newer(self) -> None:
        reader = DocumentReader(await self._connection.client())
        stamps = await reader.stamps(ROUTES)
        newer = [field for field, stamp in stamps.items() if stamp > self._routes.stamp_of(field)]
        await self._fetch(reader, newer)
        # An empty Redis says nothing of what exists, so it does not count as a first load either.
        self._routes.loaded = self._routes.loaded or bool(stamps)

    async def _fetch(self, reader: DocumentReader, fields: list[str]) -> None:
        if fields:
            self._routes.apply(await reader.documents(ROUTES, fields))

    async def _poll_forever(self) -> None:
        while True:
            await self.poll()
            await asyncio.sleep(POLL_SECONDS)

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except REDIS_AWAY:
                # The poll says so in the log; here it only means that there are no hints for a while.
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        client = await self._connection.client()
        reader = DocumentReader(client)
        async with client.pubsub(ignore_subscribe_messages=True) as hints:
            await hints.subscribe(HINTS_CHANNEL)
            # What changed before the subscription stood, the poll finds.
            while True:
                message = await hints.get_message(timeout=HINT_WAIT_SECONDS)
                if message:
                    collection, _, field = message["data"].decode().partition(" ")
                    if collection == ROUTES.name:
                        await self._fetch(reader, [field])
                        # After a poll that found Redis empty this is the first route of all, and it counts.
                        self._routes.loaded = self._routes.loaded or self.fresh_at > 0
