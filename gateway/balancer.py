"""Which replica answers: the least loaded one that has not just failed.

A failing replica is ejected for a short, growing time, and the last one never is: a wrong choice then costs less than
none. Connections of replicas that left the routes linger as long as a request that pinned the old route may need them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import structlog

from gateway.batching import BatchQueue
from gateway.errors import DeadlineExceeded, Unavailable
from gateway.lanes import Lane
from gateway.metrics import Metrics
from gateway.polling import Poller
from gateway.replica_client import Outcome, ReplicaClient
from gateway.routes import Replica, Route, RouteVersion

log = structlog.get_logger(__name__)

GET_ITEMS_IN_FLIGHT_MAX = 8
EJECTION_SECONDS_MIN = 0.25
EJECTION_SECONDS_MAX = 10.0
# A wait for a lost connection leaves this share of the deadline to the answer, and is no longer than the limit.
RECONNECT_PATIENCE_SHARE = 0.8
RECONNECT_PATIENCE_SECONDS_MAX = 5.0
LINGER_SECONDS_EXTRA = 1.0


class Link:
    """One replica: its connections, its queue in each lane, and how it has been doing."""

    def __init__(self, replica: Replica, metrics: Metrics, poller: Poller) -> None:
        self.replica = replica
        self.client = ReplicaClient(replica.address, replica.version, poller)
        self.queues = {lane: self._queue(lane, metrics) for lane in Lane}
        self._metrics = metrics
        self._items_slots = asyncio.Semaphore(GET_ITEMS_IN_FLIGHT_MAX)
        self._failures = 0
        self.ejected_until = 0.0

    @property
    def load(self) -> int:
        """Queries that wait or travel, of all lanes."""
        return sum(queue.load for queue in self.queues.values())

    def ask(self, payloads: list[bytes], us: float, lane: Lane, deadline: float) -> Awaitable[list[Outcome]]:
        """As BatchQueue.submit."""
        return self.queues[lane].submit(payloads, us, deadline)

    async def get_items(self, payload: bytes, lane: Lane, deadline: float) -> bytes:
        """As ReplicaClient.get_items; few at a time, so that they cannot take all of a replica's places."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._items_slots:
                return await self.client.get_items(payload, lane, deadline)
        except TimeoutError as error:
            raise DeadlineExceeded from error

    async def reconnected(self, deadline: float) -> None:
        """Waits briefly until a connection stands. Raises Unavailable when that takes longer."""
        patience = min((deadline - time.monotonic()) * RECONNECT_PATIENCE_SHARE, RECONNECT_PATIENCE_SECONDS_MAX)
        await self.client.reconnected(patience)

    async def close(self) -> None:
        await asyncio.gather(*(queue.close() for queue in self.queues.values()))
        await self.client.close()

    def _queue(self, lane: Lane, metrics: Metrics) -> BatchQueue:
        on_batch = metrics.batch_queries.labels(lane.value).observe
        return BatchQueue(self.client, lane, on_batch=on_batch, on_result=self._on_result)

    def _on_result(self, answered: bool) -> None:
        if answered:
            self._failures = 0
            self.ejected_until = 0.0
            return
        self._failures += 1
        seconds = min(EJECTION_SECONDS_MIN * 2 ** min(self._failures - 1, 10), EJECTION_SECONDS_MAX)
        self.ejected_until = time.monotonic() + seconds
        self._metrics.ejections.inc()
        # So that a line stands when it is asked again, even by callers whose deadlines are too short to wait for one.
        self.client.connect_soon()
        if self._failures == 1:
            log.warning("replica.ejected", replica=self.replica.replica_id, version=self.replica.version)


class Balancer:
    """The links to all replicas that routes name. Belongs to the event loop's thread; follows the routes."""

    def __init__(self, metrics: Metrics, poller: Poller, *, deadline_seconds_max: float) -> None:
        self._metrics = metrics
        self._poller = poller
        self._linger_seconds = deadline_seconds_max + LINGER_SECONDS_EXTRA
        self._links: dict[Replica, Link] = {}
        self._wanted: set[Replica] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = 0

    def pick(self, version: RouteVersion, *, avoid: Link | None = None) -> Link:
        """A link of the version, another one than `avoid` if there is one. Raises Unavailable without replicas."""
        replicas = version.replicas
        if len(replicas) == 1:
            return self._link(replicas[0])
        links = [self._link(replica) for replica in replicas]
        if not links:
            raise Unavailable("REPLICA_UNAVAILABLE", f"version {version.number} has no replica just now; try again")
        now = time.monotonic()
        ready = [link for link in links if link.ejected_until <= now]
        others = [link for link in ready or links if link is not avoid] or [link for link in links if link is not avoid]
        self._turn += 1
        start = self._turn % len(others)
        # Least loaded; among equals it goes round.
        return min(others[start:] + others[:start], key=lambda link: link.load)

    def follow(self, old: Route | None, new: Route) -> None:
        """Connects to replicas to which no line stands; lets go of those that the route names no more."""
        before = old.all_replicas() if old else set()
        after = new.all_replicas()
        self._wanted = (self._wanted - before) | after
        for replica in after:
            self._link(replica).client.connect_soon()
        loop = asyncio.get_running_loop()
        for replica in before - after:
            loop.call_later(self._linger_seconds, self._let_go, replica)

    @property
    def links(self) -> list[Replica]:
        """Replicas that may be asked: those that routes name, and for a while those that they named."""
        return list(self._links)

    def queued(self) -> list[tuple[str, int]]:
        """Queries of each lane that wait for a call to any replica."""
        links = list(self._links.values())
        return [(lane.value, sum(link.queues[lane].queued for link in links)) for lane in Lane]

    def in_flight(self) -> list[tuple[str, int]]:
        """Queries of each lane under way to any replica."""
        links = list(self._links.values())
        return [(lane.value, sum(link.queues[lane].sent for link in links)) for lane in Lane]

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link in self._links.values()), *self._closing)
        self._links.clear()

    def _link(self, replica: Replica) -> Link:
        link = self._links.get(replica)
        if link is None:
            link = self._links[replica] = Link(replica, self._metrics, self._poller)
        return link

    def _let_go(self, replica: Replica) -> None:
        """Closes the link, unless a newer route has named the replica again."""
        link = None if replica in self._wanted else self._links.pop(replica, None)
        if link:
            task = asyncio.get_running_loop().create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
