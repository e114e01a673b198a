"""A request, on one screen: authenticate, resolve, admit, check, pick, submit.

Each call resolves one Route and keeps to it, so that all pieces of a batch and every retry are answered by the
versions that were live when it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import checks
from gateway.auth import Auth, Caller
from gateway.balancer import Balancer, Link
from gateway.errors import GatewayError, PermissionDenied, ReplicaLost
from gateway.lanes import Lane, items_price_us, lane_of, price_us
from gateway.limits import Limits
from gateway.metrics import Metrics
from gateway.pieces import Gathered, Piece, cut_into_pieces
from gateway.queries import Batch, Call, ItemsQuery, Query
from gateway.replica_client import Outcome
from gateway.routes import Route, Routes, RouteVersion
from gateway.strides import Striding

Answer = TypeVar("Answer")

# Pieces of one batch that wait or travel at once; more would only lengthen the queue for everyone else.
PIECES_IN_FLIGHT_MAX = 4


class DataPlane:
    """The order of things; what each thing does is the business of the part that is called."""

    def __init__(
        self,
        *,
        auth: Auth,
        routes: Routes,
        limits: Limits,
        balancer: Balancer,
        striding: Striding,
        metrics: Metrics,
        query_items_max: int,
        answer_bytes_max: int,
    ) -> None:
        self._auth = auth
        self._routes = routes
        self._limits = limits
        self._balancer = balancer
        self._striding = striding
        self._metrics = metrics
        self._query_items_max = query_items_max
        self._answer_bytes_max = answer_bytes_max

    def authenticate(self, credential: str) -> Caller:
        """Who calls; asked before a request is even read. Raises Unauthenticated."""
        self._routes.require_loaded()
        return self._auth.authenticate(credential)

    async def recall(self, call: Call, query: Query) -> bytes:
        """One serialised RecallResponse. Raises GatewayError."""
        route = self._resolve(call, query.service)
        load = self._limits.enter(route, queries=1)
        try:
            version = route.choose(query.require_version, query.model_version)
            checks.check_query(query, version, route.limits, items_max=self._query_items_max)
            us = price_us(query, version.prices)
            [outcome] = await self._ask(version, [query.payload], us, lane_of(us), call.expires_at)
        finally:
            load.leave()
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    async def batch_recall(self, call: Call, batch: Batch) -> list[Outcome]:
        """An outcome for each query, in order. Raises GatewayError when the batch as a whole cannot be answered."""
        route = self._resolve(call, batch.service)
        checks.check_batch(batch, route.limits)
        call.queries = len(batch.queries)
        load = self._limits.enter(route, queries=len(batch.queries))
        try:
            cutting = cut_into_pieces(batch, route, items_max=self._query_items_max)
            outcomes, pieces = await self._striding.run(cutting)
            lane = lane_of(sum(piece.us for piece in pieces))
            slots = asyncio.Semaphore(PIECES_IN_FLIGHT_MAX)
            gathered = Gathered(outcomes, self._answer_bytes_max)
            await asyncio.gather(*(self._ask_piece(piece, lane, gathered, slots, call.expires_at) for piece in pieces))
        finally:
            load.leave()
        return gathered.outcomes()

    async def get_items(self, call: Call, query: ItemsQuery) -> bytes:
        """A serialised GetItemsResponse of the live version. Raises GatewayError."""
        route = self._resolve(call, query.service)
        load = self._limits.enter(route, queries=1)
        try:
            version = route.live()
            checks.check_items(query, version.schema)
            lane = lane_of(items_price_us(query))
            return await self._once_more(
                version, call.expires_at, lambda link: link.get_items(query.payload, lane, call.expires_at)
            )
        finally:
            load.leave()

    def count_items(self, call: Call, service: str) -> RouteVersion:
        """The live version, which knows its counts. Raises GatewayError."""
        return self._look_up(call, service).live()

    def service_info(self, call: Call, service: str) -> Route:
        """The route of a service that has a live version. Raises GatewayError."""
        route = self._look_up(call, service)
        route.live()
        return route

    def _look_up(self, call: Call, service: str) -> Route:
        """A route for a call that no replica answers; it counts as one query."""
        route = self._resolve(call, service)
        self._limits.enter(route, queries=1).leave()
        return route

    def _resolve(self, call: Call, service: str) -> Route:
        """The service's route, for a caller who may read it. A foreign and an unknown service look the same."""
        route = self._routes.find(service)
        if route is None or not call.caller.may("read", route):
            checks.check_service_name(service)
            raise PermissionDenied
        call.service = route.name
        return route

    async def _ask_piece(
        self, piece: Piece, lane: Lane, gathered: Gathered, slots: asyncio.Semaphore, deadline: float
    ) -> None:
        """Fills in the outcomes of one piece; what befalls the piece befalls each of its queries."""
        async with slots:
            if gathered.too_large:
                return
            try:
                answers = await self._ask(piece.version, piece.payloads, piece.us, lane, deadline)
            except GatewayError as error:
                answers = [error] * len(piece.payloads)
        gathered.put(piece, answers)

    def _ask(
        self, version: RouteVersion, payloads: list[bytes], us: float, lane: Lane, deadline: float
    ) -> Awaitable[list[Outcome]]:
        return self._once_more(version, deadline, lambda link: link.ask(payloads, us, lane, deadline))

    async def _once_more(
        self, version: RouteVersion, deadline: float, ask: Callable[[Link], Awaitable[Answer]]
    ) -> Answer:
        """Asks a replica; if that one is lost another, or the same one when its connection is back."""
        link = self._balancer.pick(version)
        try:
            return await ask(link)
        except ReplicaLost:
            self._metrics.retries.inc()
        other = self._balancer.pick(version, avoid=link)
        if other is link:
            await link.reconnected(deadline)
        return await ask(other)
