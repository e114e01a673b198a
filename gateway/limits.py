"""Admission: how many queries a second and how many calls at once a service and its tenant may have here.

The limits are those of the whole service; each live gateway takes an equal share. `qps` counts queries (a
batch counts each of its own), `concurrency` counts calls under way. Without Redis the share last known holds.
"""

from __future__ import annotations

import time

from gateway.errors import ResourceExhausted
from gateway.routes import Route

# A bucket holds what one second brings, and at least one query.
BURST_SECONDS = 1.0
BURST_QUERIES_MIN = 1.0
RETRY_AFTER_CONCURRENCY_SECONDS = 0.05
RETRY_AFTER_SECONDS_MAX = 60.0


class TokenBucket:
    """Refills by time. A cost above what it can ever hold is admitted when it is full, and paid off afterwards."""

    __slots__ = ("_tokens", "_updated")

    def __init__(self, now: float) -> None:
        self._tokens = float("inf")
        self._updated = now

    def take(self, cost: float, rate: float, now: float) -> float:
        """0.0 when admitted, else the seconds until `cost` would be; then nothing is taken. `rate` is per second."""
        burst = max(rate * BURST_SECONDS, BURST_QUERIES_MIN)
        self._tokens = min(burst, self._tokens + (now - self._updated) * rate)
        self._updated = now
        missing = min(cost, burst) - self._tokens
        if missing > 0:
            return missing / rate
        self._tokens -= cost
        return 0.0

    def give_back(self, cost: float) -> None:
        """Undoes a `take` of which the other half was refused."""
        self._tokens += cost


class ServiceLoad:
    """What one service has under way here. Kept while the service exists, across its routes."""

    __slots__ = ("bucket", "calls")

    def __init__(self, now: float) -> None:
        self.bucket = TokenBucket(now)
        self.calls = 0

    def leave(self) -> None:
        """Ends one call that `Limits.enter` admitted."""
        self.calls -= 1


class Limits:
    """Belongs to the event loop's thread; follows the routes."""

    def __init__(self) -> None:
        self._services: dict[str, ServiceLoad] = {}
        self._tenants: dict[str, TokenBucket] = {}
        self.gateways = 1

    def share_among(self, gateways: int) -> None:
        """Tells how many gateways live; this one included."""
        self.gateways = max(1, gateways)

    def follow(self, _old: Route | None, new: Route) -> None:
        if not new.tombstone:
            return
        self._services.pop(new.name, None)
        # Whoever has taken of the tenant's bucket is among the services here, unless it is gone.
        if not any(name.startswith(f"tenants/{new.tenant}/") for name in self._services):
            self._tenants.pop(new.tenant, None)

    def tenants(self) -> list[str]:
        """Those whose rate is kept."""
        return list(self._tenants)

    def calls_under_way(self) -> dict[str, int]:
        return {name: load.calls for name, load in list(self._services.items())}

    def enter(self, route: Route, queries: int) -> ServiceLoad:
        """Admits one call; the caller must `leave`. Raises ResourceExhausted with the time to come again."""
        now = time.monotonic()
        load = self._services.get(route.name)
        if load is None:
            load = self._services[route.name] = ServiceLoad(now)
        self._check_concurrency(route, load)
        if route.limits.qps:
            self._take("service", load.bucket, queries, route.limits.qps, now)
        if route.tenant_qps_max:
            self._take_tenant(route, load, queries, now)
        load.calls += 1
        return load

    def _check_concurrency(self, route: Route, load: ServiceLoad) -> None:
        limit = route.limits.concurrency
        # Rounded up, so that many gateways never make a small limit zero.
        if limit and load.calls >= -(-limit // self.gateways):
            message = f"{limit} calls at once are allowed for the service; all are taken"
            raise ResourceExhausted(
                "CONCURRENCY_EXCEEDED", message, retry_after_seconds=RETRY_AFTER_CONCURRENCY_SECONDS
            )

    def _take_tenant(self, route: Route, load: ServiceLoad, queries: int, now: float) -> None:
        bucket = self._tenants.get(route.tenant)
        if bucket is None:
            bucket = self._tenants[route.tenant] = TokenBucket(now)
        try:
            self._take("tenant", bucket, queries, route.tenant_qps_max, now)
        except ResourceExhausted:
            if route.limits.qps:
                load.bucket.give_back(queries)
            raise

    def _take(self, whose: str, bucket: TokenBucket, queries: int, qps: float, now: float) -> None:
        wait_seconds = bucket.take(queries, qps / self.gateways, now)
        if wait_seconds:
            raise ResourceExhausted(
                f"{whose.upper()}_QPS_EXCEEDED",
                f"the {whose} is limited to {qps:g} queries a second",
                retry_after_seconds=min(wait_seconds, RETRY_AFTER_SECONDS_MAX),
            )
