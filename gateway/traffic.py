"""Tells the control plane what callers asked here and with which keys, span by span, for the console's pages."""

from __future__ import annotations

import asyncio
import time

from documents.key_uses import KeyUsesWriter
from documents.traffic import SPAN_SECONDS, Traffic, TrafficWriter, span_of
from gateway.feed import REDIS_AWAY, RedisConnection
from gateway.key_uses import KeyUses
from gateway.metrics import Metrics

# A timer may ring a little early by the wall clock; a span must be over when it is told.
LATE_SECONDS = 0.05


class TrafficTeller:
    """Reads the counters at the end of each span. Belongs to the event loop's thread."""

    def __init__(self, *, process: str, metrics: Metrics, key_uses: KeyUses, connection: RedisConnection) -> None:
        self._process = process
        self._metrics = metrics
        self._key_uses = key_uses
        self._connection = connection
        self._told: dict[str, Traffic] = {}

    async def run(self) -> None:
        """Tells until cancelled."""
        while True:
            await asyncio.sleep(SPAN_SECONDS - time.time() % SPAN_SECONDS + LATE_SECONDS)
            await self.tell(span_of(time.time()) - SPAN_SECONDS)

    async def tell(self, began: int) -> None:
        """Writes what came since the last time as the span that began then. With Redis away it is lost; keys wait."""
        await self._tell_key_uses()
        asked = self._since_last_time()
        if not asked:
            return
        try:
            await TrafficWriter(await self._connection.client()).put(began, self._process, asked)
        except REDIS_AWAY:
            return

    async def _tell_key_uses(self) -> None:
        uses = self._key_uses.take()
        if not uses:
            return
        try:
            await KeyUsesWriter(await self._connection.client()).put(uses)
        except REDIS_AWAY:
            self._key_uses.put_back(uses)

    def _since_last_time(self) -> dict[str, Traffic]:
        before, self._told = self._told, self._metrics.traffic()
        asked = {}
        for name, now in self._told.items():
            then = before.get(name, Traffic())
            # Fewer than before: the service was deleted and another one has its name.
            new = now.since(then) if now.calls >= then.calls else now
            if new.calls:
                asked[name] = new
        return asked
