"""grpc.health.v1: `""` for the gateway, and one name per service that says whether it has a live version."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from gateway.routes import Route


class Health:
    """Follows the routes."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, _old: Route | None, new: Route) -> None:
        self._soon(self.servicer.set(new.name, _status(new)))

    async def drain(self) -> None:
        """Everything is NOT_SERVING from here on."""
        await self.servicer.enter_graceful_shutdown()

    def _soon(self, setting: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(setting)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _status(route: Route) -> HealthCheckResponse.ServingStatus:
    if route.tombstone:
        return HealthCheckResponse.SERVICE_UNKNOWN
    serves = any(version.replicas for version in route.versions[:1])
    return HealthCheckResponse.SERVING if serves else HealthCheckResponse.NOT_SERVING
