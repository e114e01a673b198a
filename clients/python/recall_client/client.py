"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

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
from recall_client.racing import CHANNEL_OPTION, Alarms, Race, Run
from recall_client.results import Answer, Items, ItemsCount, ServiceInfo
from recallpb.v1 import recall_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from recall_client.requests import Ids, Options


class Client:
    """Calls the gateway; safe to share among threads. Close it, or use it in a `with`.

    target: `host:port` of a gateway, or several, which are used in turn. service: `tenant/service`, used by calls that
    name none. deadline_ms: for a whole call with its retries. hedge: whether a read that takes longer than 95 % of its
    kind is asked once more, of another gateway if there is one; None: when there is. credentials: for TLS; without them
    the channel is plain.
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
        self._alarms = Alarms()
        self._closed = False

    def recall(
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
        return results.answer_of(self._call("Recall", request, deadline_ms, requests.kind_of(request)))

    def batch_recall(
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
        return results.batch_of(self._call("BatchRecall", request, deadline_ms, NOT_HEDGED))

    def get_items(
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
        return results.items_of(self._call("GetItems", request, deadline_ms, "GetItems"))

    def count_items(self, *, service: str | None = None, deadline_ms: float | None = None) -> ItemsCount:
        """How many items the live version holds."""
        request = recall_pb2.CountItemsRequest(service=self._name(service))
        return results.count_of(self._call("CountItems", request, deadline_ms, "CountItems"))

    def service_info(self, *, service: str | None = None, deadline_ms: float | None = None) -> ServiceInfo:
        """Schema, live and hot previous version, limits."""
        request = recall_pb2.GetServiceInfoRequest(service=self._name(service))
        return results.info_of(self._call("GetServiceInfo", request, deadline_ms, "GetServiceInfo"))

    def close(self) -> None:
        """Ends the calls that are under way with Cancelled."""
        self._closed = True
        self._alarms.close()
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _name(self, service: str | None) -> str:
        return requests.full_name(service or self._service)

    def _call(self, method: str, request: Any, deadline_ms: float | None, kind: str) -> Any:
        """The response, after as many attempts as are worth it; the first of them may be hedged."""
        end = end_of_call(self._deadline_ms if deadline_ms is None else deadline_ms)
        attempt = 1
        while True:
            try:
                response = self._attempt(method, request, end, kind if attempt == 1 else NOT_HEDGED)
            except grpc.RpcError as error:
                pause = pause_seconds(attempt)
                if not worth_a_retry(error.code(), attempt, end - time.monotonic() - pause, self._budget):
                    raise from_call(error) from error
                time.sleep(pause)
                attempt += 1
            else:
                self._budget.earn()
                return response

    def _attempt(self, method: str, request: Any, end: float, kind: str) -> Any:
        if self._closed:
            raise Cancelled(CLOSED)
        started = time.monotonic()
        delay = self._hedging.delay_seconds(kind)
        try:
            response = self._ask(method, request, end) if delay is None else self._race(method, request, end, delay)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._hedging.took(kind, time.monotonic() - started)
            raise
        self._hedging.took(kind, time.monotonic() - started)
        return response

    def _ask(self, method: str, request: Any, end: float) -> Any:
        endpoint = self._turns.take()
        call = getattr(endpoint.stub, method)
        try:
            return call(request, metadata=self._metadata, timeout=_seconds_until(end))
        except grpc.RpcError as error:
            self._note(endpoint, error.code())
            raise

    def _race(self, method: str, request: Any, end: float, delay: float) -> Any:
        """The first good response of two calls, of which the second starts when the first takes longer than `delay`."""
        first = self._turns.take()
        call = first.stream(method)(request, metadata=self._metadata, timeout=_seconds_until(end))

        def second() -> Run | None:
            if self._closed or not self._hedging.spend():
                return None
            other = self._turns.take(avoid=first)
            call = getattr(other.stub, method).future(request, metadata=self._metadata, timeout=_seconds_until(end))
            return Run(other, call)

        race = Race(Run(first, call), second, self._note)
        self._alarms.at(time.monotonic() + delay, race.hedge)
        return race.answer()

    def _note(self, endpoint: Endpoint, code: grpc.StatusCode) -> None:
        """What the end of a call says of its endpoint, and of the platform."""
        self._turns.failed(endpoint, code)
        self._hedging.failed(code)


def _seconds_until(end: float) -> float:
    return max(0.0, end - time.monotonic())


def _open(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(target, (*CHANNEL_OPTIONS, CHANNEL_OPTION))
    return grpc.secure_channel(target, credentials, (*CHANNEL_OPTIONS, CHANNEL_OPTION))
