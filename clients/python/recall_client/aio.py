"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from recall_client import requests, results
from recall_client.endpoints import (
    CHANNEL_OPTIONS,
    DEADLINE_MS,
    Endpoint,
    RetryBudget,
    Turns,
    end_of_call,
    pause_seconds,
    targets_of,
    worth_a_retry,
)
from recall_client.errors import CLOSED, Cancelled, RecallError, from_call
from recall_client.hedging import NOT_HEDGED, Hedging
from recall_client.results import Answer, Items, ItemsCount, ServiceInfo
from recallpb.v1 import recall_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from recall_client.requests import Ids, Options


class AsyncClient:
    """Calls the gateway from one event loop. Close it, or use it in an `async with`.

    Arguments and methods are those of `Client`.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        key: str,
        *,
        service: str | None = None,
        deadline_ms: float = DEADLINE_MS,
        hedge: bool | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._service = service
        self._deadline_ms = deadline_ms
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._channels = [_open(one, credentials) for one in targets_of(target)]
        self._turns = Turns(self._channels)
        self._budget = RetryBudget()
        self._hedging = Hedging(on=len(self._turns) > 1 if hedge is None else hedge)
        self._closed = False

    async def recall(
        self,
        query: Any,
        *,
        top_k: int = 10,
        service: str | None = None,
        deadline_ms: float | None = None,
        **options: Unpack[Options],
    ) -> Answer:
        """The best items for one query: a vector [d], several interest vectors [m, d], ItemQuery or FeatureQuery.

        Raises RecallError; ValueError or TypeError for what no message can hold.
        """
        request = requests.recall_request(self._name(service), query, top_k, **options)
        return results.answer_of(await self._call("Recall", request, deadline_ms, requests.kind_of(request)))

    async def batch_recall(
        self,
        queries: Iterable[Any],
        *,
        top_k: int = 10,
        service: str | None = None,
        deadline_ms: float | None = None,
        **options: Unpack[Options],
    ) -> list[Answer | RecallError]:
        """An answer or an error for each of up to 1,000 `queries`, in their order.

        queries: [n, d] or [n, m, d], or a sequence of what `recall` takes, or of Query where they differ in options.
        Raises RecallError when the call as a whole failed.
        """
        request = requests.batch_request(self._name(service), queries, top_k, **options)
        return results.batch_of(await self._call("BatchRecall", request, deadline_ms, NOT_HEDGED))

    async def get_items(
        self,
        ids: Ids,
        *,
        return_attributes: Sequence[str] = (),
        return_vectors: bool = False,
        service: str | None = None,
        deadline_ms: float | None = None,
    ) -> Items:
        """Items of the live version by id; unknown ids stand in `missing`."""
        request = requests.items_request(
            self._name(service), ids, return_attributes=return_attributes, return_vectors=return_vectors
        )
        return results.items_of(await self._call("GetItems", request, deadline_ms, "GetItems"))

    async def count_items(self, *, service: str | None = None, deadline_ms: float | None = None) -> ItemsCount:
        """How many items the live version holds."""
        request = recall_pb2.CountItemsRequest(service=self._name(service))
        return results.count_of(await self._call("CountItems", request, deadline_ms, "CountItems"))

    async def service_info(self, *, service: str | None = None, deadline_ms: float | None = None) -> ServiceInfo:
        """Schema, live and hot previous version, limits."""
        request = recall_pb2.GetServiceInfoRequest(service=self._name(service))
        return results.info_of(await self._call("GetServiceInfo", request, deadline_ms, "GetServiceInfo"))

    async def close(self) -> None:
        """Ends the calls that are under way with Cancelled."""
        self._closed = True
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _name(self, service: str | None) -> str:
        return requests.full_name(service or self._service)

    async def _call(self, method: str, request: Any, deadline_ms: float | None, kind: str) -> Any:
        """The response, after as many attempts as are worth it; the first of them may be hedged."""
        end = end_of_call(self._deadline_ms if deadline_ms is None else deadline_ms)
        attempt = 1
        while True:
            try:
                response = await self._attempt(method, request, end, kind if attempt == 1 else NOT_HEDGED)
            except grpc.RpcError as error:
                pause = pause_seconds(attempt)
                if not worth_a_retry(error.code(), attempt, end - time.monotonic() - pause, self._budget):
                    raise from_call(error) from error
                await asyncio.sleep(pause)
                attempt += 1
            else:
                self._budget.earn()
                return response

    async def _attempt(self, method: str, request: Any, end: float, kind: str) -> Any:
        started = time.monotonic()
        delay = self._hedging.delay_seconds(kind)
        try:
            if delay is None:
                response = await self._ask(self._turns.take(), method, request, end)
            else:
                response = await self._race(method, request, end, delay)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._hedging.took(kind, time.monotonic() - started)
            raise
        self._hedging.took(kind, time.monotonic() - started)
        return response

    async def _ask(self, endpoint: Endpoint, method: str, request: Any, end: float) -> Any:
        if self._closed:
            raise Cancelled(CLOSED)
        call = getattr(endpoint.stub, method)
        try:
            return await call(request, metadata=self._metadata, timeout=max(0.0, end - time.monotonic()))
        except grpc.RpcError as error:
            self._note(endpoint, error.code())
            raise
        except asyncio.CancelledError:
            # gRPC ends calls of a channel that is closed as if their tasks had been cancelled.
            if self._closed and not _is_cancelled_itself():
                raise Cancelled(CLOSED) from None
            raise

    async def _race(self, method: str, request: Any, end: float, delay: float) -> Any:
        """The first good response of two calls, of which the second starts when the first takes longer than `delay`."""
        calls: list[asyncio.Task[Any]] = []

        def start(endpoint: Endpoint) -> Endpoint:
            call = asyncio.ensure_future(self._ask(endpoint, method, request, end))
            # The loser's error concerns nobody, and asyncio would report it.
            call.add_done_callback(lambda done: done.cancelled() or done.exception())
            calls.append(call)
            return endpoint

        try:
            first = start(self._turns.take())
            await asyncio.wait(calls, timeout=delay)
            if not calls[0].done() and self._hedging.spend():
                start(self._turns.take(avoid=first))
            return await _first_good(calls)
        finally:
            for call in calls:
                call.cancel()

    def _note(self, endpoint: Endpoint, code: grpc.StatusCode) -> None:
        """What the end of a call says of its endpoint, and of the platform."""
        self._turns.failed(endpoint, code)
        self._hedging.failed(code)


async def _first_good(calls: Sequence[asyncio.Task[Any]]) -> Any:
    """The result of the first call that succeeds; when none does, the error of the last."""
    pending = set(calls)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        good = next((call for call in done if not call.cancelled() and call.exception() is None), None)
        if good is not None or not pending:
            return (good or done.pop()).result()


def _is_cancelled_itself() -> bool:
    """Whether somebody cancelled the task that runs. Python tells it from 3.11 on; before, nobody is taken to have."""
    cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is not None and cancelling() > 0


def _open(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)
