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
    RetryBudget,
    Turns,
    pause_seconds,
    targets_of,
    worth_a_retry,
)
from recall_client.errors import RecallError, from_call
from recall_client.results import Answer, Items, ItemsCount, ServiceInfo
from recallpb.v1 import recall_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from recall_client.requests import Ids, Options


class Client:
    """Calls the gateway; safe to share among threads. Close it, or use it in a `with`.

    target: `host:port` of a gateway, or several, which are used in turn. service: `tenant/service`, used by calls that
    name none. deadline_ms: for a whole call with its retries. credentials: for TLS; without them the channel is plain.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        key: str,
        *,
        service: str | None = None,
        deadline_ms: float = DEADLINE_MS,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._service = service
        self._deadline_ms = deadline_ms
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._channels = [_open(one, credentials) for one in targets_of(target)]
        self._turns = Turns(self._channels)
        self._budget = RetryBudget()

    def recall(
        self,
        vectors: Any,
        *,
        top_k: int = 10,
        service: str | None = None,
        deadline_ms: float | None = None,
        **options: Unpack[Options],
    ) -> Answer:
        """The best items for one query: `vectors` is [d], or [m, d] for several interest vectors.

        Raises RecallError.
        """
        request = requests.recall_request(self._name(service), vectors, top_k, **options)
        return results.answer_of(self._call("Recall", request, deadline_ms))

    def batch_recall(
        self,
        queries: Iterable[Any],
        *,
        top_k: int = 10,
        service: str | None = None,
        deadline_ms: float | None = None,
        **options: Unpack[Options],
    ) -> list[Answer | RecallError]:
        """An answer or an error for each of up to 1,000 `queries` ([n, d], [n, m, d] or a sequence), in their order.

        Raises RecallError when the call as a whole failed.
        """
        request = requests.batch_request(self._name(service), queries, top_k, **options)
        return results.batch_of(self._call("BatchRecall", request, deadline_ms))

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
        return results.items_of(self._call("GetItems", request, deadline_ms))

    def count_items(self, *, service: str | None = None, deadline_ms: float | None = None) -> ItemsCount:
        """How many items the live version holds."""
        request = recall_pb2.CountItemsRequest(service=self._name(service))
        return results.count_of(self._call("CountItems", request, deadline_ms))

    def service_info(self, *, service: str | None = None, deadline_ms: float | None = None) -> ServiceInfo:
        """Schema, live and hot previous version, limits."""
        request = recall_pb2.GetServiceInfoRequest(service=self._name(service))
        return results.info_of(self._call("GetServiceInfo", request, deadline_ms))

    def close(self) -> None:
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

    def _call(self, method: str, request: Any, deadline_ms: float | None) -> Any:
        end = time.monotonic() + (deadline_ms or self._deadline_ms) / 1000
        attempt = 1
        while True:
            endpoint = self._turns.take()
            try:
                call = getattr(endpoint.stub, method)
                response = call(request, metadata=self._metadata, timeout=max(0.0, end - time.monotonic()))
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise from_call(error) from error
                self._turns.rest(endpoint)
                pause = pause_seconds(attempt)
                if not worth_a_retry(attempt, end - time.monotonic() - pause, self._budget):
                    raise from_call(error) from error
                time.sleep(pause)
                attempt += 1
            else:
                self._budget.earn()
                return response


def _open(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(target, CHANNEL_OPTIONS)
    return grpc.secure_channel(target, credentials, CHANNEL_OPTIONS)
