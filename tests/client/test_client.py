"""The Python client against a real gRPC server that answers by script."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import grpc
import numpy as np
import pytest

from recall_client import (
    Answer,
    AsyncClient,
    Cancelled,
    Client,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    ModelInput,
    PermissionDenied,
    QueryModel,
    RecallError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from recallpb.v1 import recall_pb2
from tests.client.scripted import refuse, serving

KEY = "rk_alicekey_0123456789abcdefghijABCDEFGHIJ01"
VECTOR = np.arange(4, dtype=np.float32)


def answers(request: Any, context: grpc.ServicerContext) -> recall_pb2.RecallResponse:
    return recall_pb2.RecallResponse(version=7, ids=[3, 1], scores=[0.5, 0.25])


def test_it_sends_vector_key_and_service_and_reads_the_columns() -> None:
    with serving(answers) as gateway, Client(gateway.address, KEY, service="films/similar") as client:
        answer = client.recall(VECTOR, top_k=2, ef=50, exclude=[9], return_attributes=["year"])

    request = gateway.requests[0]
    assert request.service == "tenants/films/services/similar"
    assert np.frombuffer(request.vectors.vectors[0].packed, dtype="<f4").tolist() == VECTOR.tolist()
    assert (request.top_k, request.params.ef, list(request.exclude.ids)) == (2, 50, [9])
    assert list(request.return_attributes) == ["year"]
    assert gateway.metadata[0]["authorization"] == f"Bearer {KEY}"
    assert answer.version == 7
    assert answer.ids.dtype == np.int64
    assert answer.ids.tolist() == [3, 1]
    assert answer.scores.dtype == np.float32
    assert answer.scores.tolist() == [0.5, 0.25]
    assert (len(answer), answer.vectors, answer.timings) == (2, None, None)


def test_several_vectors_are_one_query_with_weights_and_a_merge() -> None:
    with serving(answers) as gateway, Client(gateway.address, KEY) as client:
        client.recall(np.eye(3, 4), service="films/similar", weights=[1, 2, 3], merge="weighted_sum")

    request = gateway.requests[0]
    assert len(request.vectors.vectors) == 3
    assert list(request.vectors.weights) == [1, 2, 3]
    assert request.merge == recall_pb2.WEIGHTED_SUM


def test_attributes_and_vectors_come_back_as_columns() -> None:
    def handler(request: Any, context: grpc.ServicerContext) -> recall_pb2.RecallResponse:
        return recall_pb2.RecallResponse(
            version=1,
            text_ids=["a", "b"],
            scores=[1, 2],
            found_by=[1, 0],
            vectors=[recall_pb2.Vector(packed=VECTOR.tobytes())] * 2,
            attributes=[
                recall_pb2.AttributeColumn(
                    name="year", ints=recall_pb2.Int64List(values=[1999, 0]), present=[True, False]
                ),
                recall_pb2.AttributeColumn(
                    name="genre",
                    string_lists=recall_pb2.StringLists(
                        values=[recall_pb2.StringList(values=["x", "y"]), recall_pb2.StringList(values=["z", "w"])]
                    ),
                ),
            ],
            timings=recall_pb2.Timings(total_us=120),
        )

    with serving(handler) as gateway, Client(gateway.address, KEY, service="films/similar") as client:
        answer = client.recall(VECTOR, return_vectors=True, trace=True)

    assert answer.ids.tolist() == ["a", "b"]
    assert answer.found_by.tolist() == [1, 0]
    assert answer.attributes["year"].tolist() == [1999, None]
    assert answer.attributes["genre"].tolist() == [["x", "y"], ["z", "w"]]
    assert answer.vectors is not None
    assert answer.vectors.tolist() == [VECTOR.tolist()] * 2
    assert answer.timings is not None
    assert answer.timings.total_us == 120


def test_a_batch_gives_an_answer_or_an_error_for_each_query() -> None:
    def handler(request: Any, context: grpc.ServicerContext) -> recall_pb2.BatchRecallResponse:
        error = recall_pb2.RecallError(
            code=3, reason="DIMENSION_MISMATCH", message="3 is not 4", field="vectors.vectors[0]"
        )
        good = recall_pb2.BatchRecallResult(response=answers(request, context))
        return recall_pb2.BatchRecallResponse(results=[good, recall_pb2.BatchRecallResult(error=error)])

    with serving(handler) as gateway, Client(gateway.address, KEY, service="films/similar") as client:
        first, second = client.batch_recall([VECTOR, VECTOR[:3]], top_k=5)

    assert [request.top_k for request in gateway.requests[0].requests] == [5, 5]
    assert isinstance(first, Answer)
    assert isinstance(second, InvalidArgument)
    assert (second.reason, second.field) == ("DIMENSION_MISMATCH", "vectors.vectors[0]")


def test_items_counts_and_the_service_s_description_are_typed() -> None:
    def handler(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(request, recall_pb2.GetItemsRequest):
            missing = recall_pb2.ItemIds(ids=[8])
            return recall_pb2.GetItemsResponse(version=2, ids=[7], missing=missing)
        if isinstance(request, recall_pb2.CountItemsRequest):
            return recall_pb2.CountItemsResponse(version=2, items=10, searchable_items=9)
        schema = recall_pb2.Schema(
            id_type="int64",
            dimension=4,
            metric="ip",
            attributes=[recall_pb2.Attribute(name="year", type="int64")],
            query_model=recall_pb2.QueryModel(
                vectors=4,
                inputs=[recall_pb2.ModelInput(name="hist", type="int64", max_length=50, truncate="keep_last")],
            ),
        )
        return recall_pb2.GetServiceInfoResponse(
            service=request.service,
            schema=schema,
            live=recall_pb2.VersionInfo(version=2, items=10),
            limits=recall_pb2.Limits(qps=100, max_top_k=500),
        )

    with serving(handler) as gateway, Client(gateway.address, KEY, service="films/similar") as client:
        items, count, info = client.get_items([7, 8]), client.count_items(), client.service_info()

    assert (items.version, items.ids.tolist(), items.missing.tolist()) == (2, [7], [8])
    assert (count.items, count.searchable_items) == (10, 9)
    assert info.schema.attributes == (("year", "int64"),)
    history = ModelInput("hist", "int64", max_length=50, truncate="keep_last", has_vocabulary=False, unknown="")
    assert info.schema.query_model == QueryModel(vectors=4, inputs=(history,))
    assert info.live is not None
    assert (info.live.version, info.previous, info.limits.max_top_k) == (2, None, 500)


def test_a_request_that_the_server_does_not_take_is_told_as_one_that_is_never_right() -> None:
    with (
        serving(lambda _request, _context: recall_pb2.RecallResponse()) as gateway,
        Client(gateway.address, KEY, service="films/similar", deadline_ms=20_000) as client,
        pytest.raises(InvalidArgument, match=r"no request of so many bytes \(\d+ vs. 4194304\)") as caught,
    ):
        client.recall(np.zeros(2_000_000))
    assert caught.value.reason == "REQUEST_TOO_LARGE"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, Internal),
    ],
)
def test_each_status_is_an_exception_of_its_own_with_reason_and_field(
    code: grpc.StatusCode, kind: type[RecallError]
) -> None:
    def handler(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, code, "no", reason="WHY", field="top_k", request_id="abc", retry_after_seconds=1.5)

    with (
        serving(handler) as gateway,
        Client(gateway.address, KEY, service="films/similar") as client,
        pytest.raises(kind) as caught,
    ):
        client.recall(VECTOR)

    error = caught.value
    assert (error.message, error.reason, error.field, error.request_id) == ("no", "WHY", "top_k", "abc")
    assert error.retry_after_seconds == 1.5
    assert str(error) == "WHY: no (field top_k)"


def test_it_tries_again_elsewhere_when_an_endpoint_is_unavailable() -> None:
    def drains(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "draining", reason="DRAINING")

    with (
        serving(drains) as leaving,
        serving(answers) as staying,
        Client([leaving.address, staying.address], KEY, service="films/similar", deadline_ms=5_000) as client,
    ):
        versions = [client.recall(VECTOR).version for _ in range(4)]

    assert versions == [7] * 4
    assert len(staying.requests) == 4
    assert len(leaving.requests) <= 1, "an endpoint that was unavailable is passed over for a moment"


def test_it_gives_up_after_three_attempts() -> None:
    def drains(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "draining", reason="DRAINING")

    with (
        serving(drains) as gateway,
        Client(gateway.address, KEY, service="films/similar", deadline_ms=5_000) as client,
        pytest.raises(Unavailable),
    ):
        client.recall(VECTOR)

    assert len(gateway.requests) == 3


def test_retries_stop_when_most_calls_need_one() -> None:
    def drains(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "draining", reason="DRAINING")

    with serving(drains) as gateway, Client(gateway.address, KEY, service="films/similar", deadline_ms=5_000) as client:
        for _ in range(10):
            with pytest.raises(Unavailable):
                client.recall(VECTOR)

    # Four retries are within the budget; without it there would be 30 calls.
    assert len(gateway.requests) == 14


@pytest.mark.parametrize("code", [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_it_never_tries_again_for_another_reason(code: grpc.StatusCode) -> None:
    def handler(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, code, "no", reason="NO")

    with (
        serving(handler) as gateway,
        Client(gateway.address, KEY, service="films/similar") as client,
        pytest.raises(RecallError),
    ):
        client.recall(VECTOR)

    assert len(gateway.requests) == 1


def test_the_deadline_holds_for_the_whole_call() -> None:
    def sleeps(request: Any, context: grpc.ServicerContext) -> recall_pb2.RecallResponse:
        time.sleep(1)
        return answers(request, context)

    with serving(sleeps) as gateway, Client(gateway.address, KEY, service="films/similar") as client:
        client.recall(VECTOR, deadline_ms=10_000)
        with pytest.raises(DeadlineExceeded):
            client.recall(VECTOR, deadline_ms=100)


def test_it_names_what_was_forgotten() -> None:
    with Client("127.0.0.1:1", KEY) as client:
        with pytest.raises(ValueError, match="Name the service"):
            client.recall(VECTOR)
        with pytest.raises(ValueError, match="merge must be one of"):
            client.recall(VECTOR, service="films/similar", merge="best")


async def test_the_asyncio_client_does_the_same() -> None:
    def handler(request: Any, context: grpc.ServicerContext) -> Any:
        if request.top_k == 0:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "top_k is 0", reason="TOP_K", field="top_k")
        return answers(request, context)

    with serving(handler) as gateway:
        async with AsyncClient(gateway.address, KEY, service="films/similar") as client:
            answer = await client.recall(VECTOR, top_k=2)
            with pytest.raises(InvalidArgument, match="top_k is 0") as caught:
                await client.recall(VECTOR, top_k=0)

    assert answer.ids.tolist() == [3, 1]
    assert caught.value.field == "top_k"


async def test_the_asyncio_client_tries_again_elsewhere_too() -> None:
    def drains(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "draining", reason="DRAINING")

    with serving(drains) as leaving, serving(answers) as staying:
        targets = [leaving.address, staying.address]
        async with AsyncClient(targets, KEY, service="films/similar", deadline_ms=5_000) as client:
            assert [(await client.recall(VECTOR)).version for _ in range(2)] == [7, 7]


class Stuck:
    """A gateway that keeps its callers waiting until it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.goes_on = threading.Event()

    def __call__(self, request: Any, context: grpc.ServicerContext) -> recall_pb2.RecallResponse:
        self.asked.set()
        self.goes_on.wait(20)
        return answers(request, context)


async def test_closing_the_asyncio_client_ends_its_calls_with_an_error_and_cancels_nobody() -> None:
    stuck = Stuck()
    with serving(stuck) as gateway:
        client = AsyncClient(gateway.address, KEY, service="films/similar", deadline_ms=20_000)
        asked = asyncio.create_task(client.recall(VECTOR))
        assert await asyncio.to_thread(stuck.asked.wait, 10)
        await client.close()
        with pytest.raises(Cancelled, match="the client was closed"):
            await asked
        assert not asked.cancelled()
        with pytest.raises(Cancelled, match="the client was closed"):
            await client.recall(VECTOR)
        stuck.goes_on.set()


@pytest.mark.parametrize("closes", [False, True])
async def test_who_is_cancelled_hears_that_also_when_the_client_is_closed_with_it(closes: bool) -> None:
    stuck = Stuck()
    with serving(stuck) as gateway:
        client = AsyncClient(gateway.address, KEY, service="films/similar", deadline_ms=20_000)
        asked = asyncio.create_task(client.recall(VECTOR))
        assert await asyncio.to_thread(stuck.asked.wait, 10)
        if closes:
            await client.close()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await client.close()
        stuck.goes_on.set()


async def test_closing_the_asyncio_client_between_two_attempts_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def drains(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "draining", reason="DRAINING")

    with serving(drains) as gateway:
        client = AsyncClient(gateway.address, KEY, service="films/similar", deadline_ms=20_000)
        closing: list[asyncio.Task[None]] = []

        def closes(_attempt: int) -> float:
            closing.append(asyncio.create_task(client.close()))
            return 0.05

        monkeypatch.setattr("recall_client.aio.pause_seconds", closes)
        with pytest.raises(Cancelled, match="the client was closed"):
            await client.recall(VECTOR)
        await asyncio.gather(*closing)


def test_closing_the_client_between_two_attempts_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def drains(request: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.UNAVAILABLE, "draining", reason="DRAINING")

    with serving(drains) as gateway:
        client = Client(gateway.address, KEY, service="films/similar", deadline_ms=20_000)

        def closes(_attempt: int) -> float:
            client.close()
            return 0.0

        monkeypatch.setattr("recall_client.client.pause_seconds", closes)
        with pytest.raises(Cancelled, match="the client was closed"):
            client.recall(VECTOR)
