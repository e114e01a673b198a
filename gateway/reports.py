"""The gateway's lease: what it serves, told each second and at once after a change, for which activations wait."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from documents.store import GATEWAY_REPORT_PREFIX, DocumentReader
from gateway.feed import REDIS_AWAY, RedisConnection
from gateway.limits import Limits
from gateway.routes import Route, Routes
from recallpb.internal.v1 import documents_pb2

REPORT_SECONDS = 1.0
SCAN_KEYS = 500
GATEWAYS_MAX = 1_000


class Reporter:
    """Writes GatewayReport and counts the live gateways, among which limits are shared."""

    def __init__(
        self,
        *,
        name: str,
        address: str,
        connection: RedisConnection,
        limits: Limits,
        stale_seconds: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._stale_seconds = stale_seconds
        self._report = documents_pb2.GatewayReport(gateway=name, address=address, pid=os.getpid())
        self._wake = asyncio.Event()

    def follow(self, _old: Route | None, new: Route) -> None:
        """Notes the stamp; a tombstone is served like any other: by knowing of it."""
        self._report.serving[new.field].CopyFrom(new.stamp.to_message())
        self._wake.set()

    def start_from(self, routes: Routes) -> None:
        """Notes what is served already."""
        for route in routes.all():
            self.follow(None, route)

    async def run(self) -> None:
        """Reports until cancelled."""
        while True:
            self._wake.clear()
            await self.report()
            if not self._wake.is_set():
                await self.share_limits()
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def report(self) -> None:
        """Writes the lease now. Redis away is the feed's to say; the lease then ends by itself."""
        self._report.stale_seconds = self._stale_seconds()
        try:
            client = await self._connection.client()
            await DocumentReader(client).report_gateway(self._report)
        except REDIS_AWAY:
            return

    async def share_limits(self) -> None:
        """Counts the live gateways; without Redis the last count holds."""
        try:
            self._limits.share_among(await self._count_gateways())
        except REDIS_AWAY:
            return

    async def withdraw(self) -> None:
        """Gives the lease back on a clean stop, so that no activation waits for this gateway."""
        try:
            client = await self._connection.client()
            await client.delete(GATEWAY_REPORT_PREFIX + self._report.gateway)
        except REDIS_AWAY:
            return

    async def _count_gateways(self) -> int:
        client = await self._connection.client()
        gateways = 0
        async for _ in client.scan_iter(match=f"{GATEWAY_REPORT_PREFIX}*", count=SCAN_KEYS):
            gateways += 1
            if gateways >= GATEWAYS_MAX:
                break
        return gateways
