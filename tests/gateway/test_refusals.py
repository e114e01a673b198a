"""Each error of the contract, as a caller sees it over gRPC."""

from __future__ import annotations

import time
from typing import Any

import grpc
import numpy as np
import pytest
import structlog

from gateway.checks import RETURNED_ATTRIBUTES_MAX
from gateway.dataplane import PIECES_IN_FLIGHT_MAX
from gateway.pieces import PIECE_QUERIES_MAX
from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas.checks import QueryLimits
from tests.gateway.harness import (
    ALICES_KEY,
    BOOKS,
    DIMENSION,
    FILMS,
    Harness,
    key,
    limits,
    query,
    refusal,
    route,
    route_version,
)
from tests.support.exact_replica import ExactReplica

Code = grpc.StatusCode


async def refuse(harness: Harness, request: Any, credential: str = ALICES_KEY, rpc: str = "Recall") -> Any:
    return await refusal(harness.caller(credential).call(rpc, request))


WRONG_QUERIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "k of 0": ({"top_k": 0}, "TOP_K_OUT_OF_RANGE", "top_k"),
    "a negative k": ({"top_k": -1}, "TOP_K_OUT_OF_RANGE", "top_k"),
    "k above the limit": ({"top_k": 101}, "TOP_K_OUT_OF_RANGE", "top_k"),
    "a vector too long": ({"vector": np.ones(9)}, "DIMENSION_MISMATCH", "vectors.vectors[0]"),
    "a vector too short": ({"vector": np.ones(0)}, "DIMENSION_MISMATCH", "vectors.vectors[0]"),
    "not a number": ({"vector": np.full(DIMENSION, np.nan)}, "NOT_FINITE", "vectors.vectors[0]"),
    "ef of 0": ({"params": recall_pb2.SearchParams(ef=0)}, "EF_OUT_OF_RANGE", "params.ef"),
    "ef above the limit": ({"params": recall_pb2.SearchParams(ef=501)}, "EF_OUT_OF_RANGE", "params.ef"),
    "65 attributes": ({"return_attributes": ["genre"] * 65}, "TOO_MANY_ATTRIBUTES", "return_attributes"),
    "nprobe of 0": ({"params": recall_pb2.SearchParams(nprobe=0)}, "NPROBE_OUT_OF_RANGE", "params.nprobe"),
    "nprobe above the limit": (
        {"params": recall_pb2.SearchParams(nprobe=501)},
        "NPROBE_OUT_OF_RANGE",
        "params.nprobe",
    ),
    "exact search": ({"params": recall_pb2.SearchParams(exact=True)}, "EXACT_NOT_ALLOWED", "params.exact"),
    "a filter of 10 kB": ({"filter": "x" * 10_000}, "FILTER_TOO_LONG", "filter"),
    "too many excluded": ({"exclude": recall_pb2.ItemIds(ids=range(10_001))}, "TOO_MANY_EXCLUDED", "exclude"),
}


@pytest.mark.parametrize("wrong", WRONG_QUERIES)
async def test_it_names_the_field_of_a_wrong_query(films: Harness, wrong: str) -> None:
    fields, reason, field = WRONG_QUERIES[wrong]
    refused = await refuse(films, query(**fields))
    assert (refused.code, refused.reason, refused.fields) == (Code.INVALID_ARGUMENT, reason, [field])
    assert (refused.domain, refused.status.message) == ("recall", refused.details)


async def test_who_asks_for_exact_search_learns_which_limit_forbids_it(films: Harness) -> None:
    refused = await refuse(films, query(params=recall_pb2.SearchParams(exact=True)))
    assert "limits.allow_exact" in refused.details


async def test_it_refuses_a_vector_that_ends_within_a_number(films: Harness) -> None:
    request = query()
    request.vectors.vectors[0].packed += b"\x00"
    refused = await refuse(films, request)
    assert (refused.reason, refused.fields) == ("DIMENSION_MISMATCH", ["vectors.vectors[0]"])
    assert "8.25 values" in refused.details


async def test_it_counts_a_list_of_floats_like_packed_ones(films: Harness) -> None:
    request = query()
    request.vectors.vectors[0].values.values.extend([1.0] * 9)
    assert "9 values" in (await refuse(films, request)).details


async def test_it_refuses_what_is_no_service_name(films: Harness) -> None:
    for name in ("", "movies", "tenants/films", "tenants/FILMS/services/movies", f"{FILMS}/", "tenants/a/services/b\n"):
        refused = await refuse(films, query(name))
        assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "SERVICE_NAME_INVALID")
        assert refused.fields == ["service"]


async def test_it_refuses_bytes_that_are_no_request(films: Harness) -> None:
    channel = films.caller().channel
    for rpc in ("Recall", "BatchRecall", "GetItems", "CountItems", "GetServiceInfo"):
        call = channel.unary_unary(f"/recallpb.v1.RecallService/{rpc}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff", metadata=(("authorization", f"Bearer {ALICES_KEY}"),))
        assert caught.value.code() is Code.INVALID_ARGUMENT


async def test_a_foreign_and_an_unknown_service_look_the_same_to_the_byte(harness: Harness) -> None:
    replica = await harness.replica()
    harness.publish(route(route_version(1, replica.address)))
    harness.publish(route(route_version(1, replica.address), name=BOOKS))
    await harness.start()
    charlies = await refuse(harness, query(BOOKS))
    nobodys = await refuse(harness, query("tenants/nobody/services/nothing"))
    unknown = await refuse(harness, query("tenants/films/services/nothing"))
    assert charlies.code is Code.PERMISSION_DENIED
    assert charlies.raw_status == nobodys.raw_status == unknown.raw_status
    assert charlies.details == nobodys.details == unknown.details


async def test_a_key_for_one_service_opens_no_other(harness: Harness) -> None:
    replica = await harness.replica()
    mine = key(ALICES_KEY, service="movies")
    harness.publish(route(route_version(1, replica.address), keys=(mine,)))
    other = "tenants/films/services/series"
    harness.publish(route(route_version(1, replica.address), name=other, keys=()))
    await harness.start()
    assert (await harness.caller().recall()).version == 1
    unknown = await refuse(harness, query("tenants/films/services/nothing"))
    assert (await refuse(harness, query(other))).raw_status == unknown.raw_status


async def test_it_says_that_there_is_no_live_version_yet(harness: Harness) -> None:
    harness.publish(route())
    await harness.start()
    requests = {
        "Recall": query(),
        "BatchRecall": recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("")]),
        "GetItems": recall_pb2.GetItemsRequest(service=FILMS, items=recall_pb2.ItemIds(ids=[1])),
        "CountItems": recall_pb2.CountItemsRequest(service=FILMS),
        "GetServiceInfo": recall_pb2.GetServiceInfoRequest(service=FILMS),
    }
    for rpc, request in requests.items():
        refused = await refuse(harness, request, rpc=rpc)
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "NO_LIVE_VERSION")


@pytest.mark.parametrize(
    ("required", "reason"),
    [
        ({"require_version": 9}, "VERSION_NOT_LOADED"),
        ({"model_version": "model-9"}, "MODEL_VERSION_NOT_LOADED"),
        ({"require_version": 1, "model_version": "model-9"}, "MODEL_VERSION_NOT_LOADED"),
    ],
)
async def test_it_says_that_a_required_version_or_model_is_not_loaded(
    films: Harness, required: dict[str, Any], reason: str
) -> None:
    refused = await refuse(films, query(**required))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, reason)


async def test_it_says_that_a_required_version_was_rolled_back_and_not_that_it_is_not_loaded(
    harness: Harness, replica: ExactReplica
) -> None:
    harness.publish(route(route_version(1, replica.address), rolled_back=[2]))
    await harness.start()
    refused = await refuse(harness, query(require_version=2))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "VERSION_ROLLED_BACK")
    assert refused.fields == ["require_version"]
    assert "version 2 was rolled back and marked bad" in refused.details
    assert "Activating version 2" in refused.details
    assert "not loaded" not in refused.details
    assert (await refuse(harness, query(require_version=3))).reason == "VERSION_NOT_LOADED"


async def test_it_keeps_to_the_callers_deadline(films: Harness, replica: ExactReplica) -> None:
    replica.delay_seconds = 5.0
    started = time.monotonic()
    refused = await refusal(films.caller().recall(seconds=0.2))
    assert refused.code is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2.0


async def test_it_gives_a_deadline_to_those_who_bring_none(harness: Harness, replica: ExactReplica) -> None:
    await harness.start(gateway_deadline_ms_default=100)
    replica.delay_seconds = 5.0
    refused = await refusal(harness.caller().recall(seconds=None))
    assert (refused.code, refused.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_it_cuts_a_deadline_that_is_too_long(harness: Harness, replica: ExactReplica) -> None:
    await harness.start(gateway_deadline_ms_max=100)
    replica.delay_seconds = 5.0
    refused = await refusal(harness.caller().recall(seconds=60))
    assert (refused.code, refused.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_an_internal_error_leaves_with_a_request_id_and_without_its_text(
    films: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    assert films.gateway
    monkeypatch.setattr(films.gateway.limits, "enter", broken)
    refused = await refuse(films, query())
    assert (refused.code, refused.reason) == (Code.INTERNAL, "INTERNAL")
    assert refused.metadata["request_id"] in refused.details
    assert b"swordfish" not in refused.raw_status
    assert "swordfish" not in refused.details


async def test_a_version_without_replicas_is_unavailable(harness: Harness) -> None:
    harness.publish(route(route_version(1)))
    await harness.start()
    refused = await refuse(harness, query())
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "REPLICA_UNAVAILABLE")
    assert refused.retry_seconds > 0


async def test_a_gateway_without_any_routes_does_not_call_a_key_unknown(harness: Harness) -> None:
    await harness.start()
    refused = await refuse(harness, query())
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "NO_ROUTES")


async def test_it_refuses_a_batch_that_is_too_large(harness: Harness) -> None:
    version = route_version(1, (await harness.replica()).address)
    harness.publish(route(version, limits=limits(max_top_k=1_000)))
    await harness.start()
    sizes = {"BATCH_SIZE_OUT_OF_RANGE": (0, 1), "BATCH_TOO_LARGE": (1_000, 201)}
    for reason, (count, top_k) in sizes.items():
        batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("", top_k=top_k)] * count)
        refused = await refuse(harness, batch, rpc="BatchRecall")
        assert (refused.code, refused.reason, refused.fields) == (Code.INVALID_ARGUMENT, reason, ["requests"])
    batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("")] * 1_001)
    assert (await refuse(harness, batch, rpc="BatchRecall")).reason == "BATCH_SIZE_OUT_OF_RANGE"


async def test_a_query_of_a_batch_that_asks_for_too_much_is_refused_by_itself(films: Harness) -> None:
    batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query(""), query("", top_k=300_000)])
    good, refused = (await films.caller().call("BatchRecall", batch)).results
    assert len(good.response.ids) == batch.requests[0].top_k
    assert (refused.error.reason, refused.error.field) == ("TOP_K_OUT_OF_RANGE", "top_k")


async def test_it_refuses_to_get_no_items_and_too_many(films: Harness) -> None:
    for count in (0, 10_001):
        request = recall_pb2.GetItemsRequest(service=FILMS, items=recall_pb2.ItemIds(ids=range(count)))
        refused = await refuse(films, request, rpc="GetItems")
        assert (refused.code, refused.reason, refused.fields) == (
            Code.INVALID_ARGUMENT,
            "ITEM_COUNT_OUT_OF_RANGE",
            ["items"],
        )


async def test_it_passes_on_what_the_replica_says_of_wrong_ids(films: Harness) -> None:
    request = recall_pb2.GetItemsRequest(service=FILMS, items=recall_pb2.ItemIds(text_ids=["a"]))
    refused = await refuse(films, request, rpc="GetItems")
    assert (refused.code, refused.details) == (Code.INVALID_ARGUMENT, "id type wrong")


async def test_vectors_that_would_not_fit_an_answer_are_refused_before_the_search(harness: Harness) -> None:
    version = route_version(1, (await harness.replica()).address)
    version.schema.dimension = 8_192
    harness.publish(route(version, limits=limits(max_top_k=10_000)))
    await harness.start()
    request = query(vector=np.ones(8_192), top_k=10_000, return_vectors=True)
    refused = await refuse(harness, request)
    assert (refused.reason, refused.fields) == ("ANSWER_TOO_LARGE", ["return_vectors"])


async def test_it_refuses_a_message_above_the_limit(harness: Harness, replica: ExactReplica) -> None:
    await harness.start(gateway_receive_bytes_max=100_000)
    refused = await refuse(harness, query(exclude=recall_pb2.ItemIds(text_ids=["x" * 100_001])))
    assert refused.code is Code.RESOURCE_EXHAUSTED
    assert (await harness.caller().recall()).version == 1


async def test_a_batch_whose_answers_together_are_too_large_is_refused_by_name_and_asks_no_further(
    harness: Harness, replica: ExactReplica
) -> None:
    await harness.start(gateway_send_bytes_max=20_000)
    batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("", top_k=100)] * 1_000)
    refused = await refuse(harness, batch, rpc="BatchRecall")
    assert (refused.code, refused.reason, refused.fields) == (
        Code.INVALID_ARGUMENT,
        "ANSWER_TOO_LARGE",
        ["requests"],
    )
    # Those that were under way when the limit was passed, and no more.
    assert sum(replica.batches) <= PIECE_QUERIES_MAX * (PIECES_IN_FLIGHT_MAX + 1)
    few = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("", top_k=100)] * 10)
    assert len((await harness.caller().call("BatchRecall", few)).results) == 10


async def test_an_answer_that_cannot_be_sent_is_refused_by_name_and_counted_as_that(
    harness: Harness, replica: ExactReplica
) -> None:
    gateway = await harness.start(gateway_send_bytes_max=500)
    refused = await refuse(harness, query(top_k=100))
    assert (refused.code, refused.reason, refused.fields) == (Code.INVALID_ARGUMENT, "ANSWER_TOO_LARGE", ["top_k"])
    assert (await harness.caller().recall(query(top_k=5))).version == 1
    requests = {
        sample.labels["code"]: sample.value
        for metric in gateway.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "recall_gateway_requests_total" and sample.labels["rpc"] == "Recall"
    }
    assert requests == {"INVALID_ARGUMENT": 1, "OK": 1}


async def test_vectors_that_a_batch_asks_for_are_as_long_as_those_of_the_version_it_names(harness: Harness) -> None:
    live, previous = (
        route_version(2, harness.socket("new")),
        route_version(1, (await harness.replica("old", 1)).address),
    )
    previous.schema.dimension = 2_048
    harness.publish(route(live, previous))
    await harness.start()
    asked = query("", vector=np.ones(2_048), top_k=100, return_vectors=True, require_version=1)
    # 61 x 100 x 8,192 bytes are within 48 MiB, and 62 are not.
    for count in (62, 900):
        batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[asked] * count)
        refused = await refuse(harness, batch, rpc="BatchRecall")
        assert (refused.reason, refused.fields) == ("ANSWER_TOO_LARGE", ["return_vectors"])


async def test_a_fault_of_ours_within_a_batch_has_a_request_id_under_which_the_log_has_its_cause_once(
    films: Harness, replica: ExactReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(raw: bytes) -> replica_pb2.Answer:
        request = recall_pb2.RecallRequest.FromString(raw)
        secret = recall_pb2.RecallError(code=13, reason="INTERNAL", message=f"swordfish {request.top_k}")
        return replica_pb2.Answer(error=secret)

    monkeypatch.setattr(replica, "_answer", broken)
    requests = [query("", top_k=top_k) for top_k in (7, 7, 9, 0, 7)]
    batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=requests)
    with structlog.testing.capture_logs() as logged:
        answer = await films.caller().call("BatchRecall", batch)
    errors = [result.error for result in answer.results]
    assert [error.code for error in errors] == [13, 13, 13, 3, 13]
    told = [entry for entry in logged if entry["event"] == "call.internal"]
    assert sorted(entry["cause"] for entry in told) == [
        "replica: 13: INTERNAL: swordfish 7",
        "replica: 13: INTERNAL: swordfish 9",
    ]
    [request_id] = {entry["request_id"] for entry in told}
    assert {error.message for error in errors if error.code == 13} == {f"internal error; request {request_id}"}
    assert request_id not in errors[3].message


async def test_cells_named_by_nprobe_look_at_no_more_than_ef_may(harness: Harness) -> None:
    version = route_version(1, (await harness.replica()).address)
    version.searchable_items = 1_000_000
    harness.publish(route(version, limits=limits(max_ef=2_000)))
    await harness.start()
    # 32 cells of a thousand items are 2,000 times 16.
    asked = [query(params=recall_pb2.SearchParams(nprobe=nprobe)) for nprobe in (32, 33, 65_536)]
    assert (await harness.caller().recall(asked[0])).version == 1
    for each in asked[1:]:
        refused = await refuse(harness, each)
        assert (refused.code, refused.reason, refused.fields) == (
            Code.INVALID_ARGUMENT,
            "NPROBE_OUT_OF_RANGE",
            ["params.nprobe"],
        )
        assert "must be 1 to 32" in refused.details


def test_gateway_and_replica_know_one_limit_of_returned_attributes() -> None:
    assert QueryLimits().return_attributes_max == RETURNED_ATTRIBUTES_MAX
