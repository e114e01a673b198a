"""Queries over REST, through a real gateway."""

from __future__ import annotations

import signal
import time
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User

from api.examples import BATCH_RECALL, RECALL
from catalog.models import Service
from recallpb.v1 import recall_pb2
from tenants.models import Tenant
from tenants.permissions import caller_of_user
from tests.api.conftest import Caller, caller_by_key, caller_by_session
from tests.api.gateway import IDS_PER_VERSION, RunningGateway, year_of
from tests.factories import make_service
from tests.support.artifacts import exact_ids
from versions.queries import gateway as client
from versions.queries.tokens import internal_token

MOVIES = "/tenants/films/services/movies"
VECTOR = [1.0, -0.5, 0.25, 0.0, 2.0, -1.0, 0.5, 3.0]


@pytest.fixture
def gateway(shared_gateway: RunningGateway, settings: Any, films_service: Service) -> RunningGateway:
    """Serves version 1 of films/movies; the control plane knows its address."""
    settings.GATEWAY_ADDRESS = shared_gateway.address
    shared_gateway.publish()
    return shared_gateway


def expected(gateway: RunningGateway, top_k: int) -> list[str]:
    """Proto JSON writes 64-bit numbers as text."""
    ids, _ = exact_ids(gateway.made, np.asarray(VECTOR, np.float32), top_k)
    return [str(number) for number in ids]


@pytest.mark.parametrize(
    "vectors",
    [
        [VECTOR],
        {"vectors": [VECTOR]},
        {"vectors": [{"values": VECTOR}]},
        {"vectors": [{"values": {"values": VECTOR}}]},
        {"vectors": [{"packed": "AACAPwAAAL8AAIA+AAAAAAAAAEAAAIC/AAAAPwAAQEA="}]},
    ],
)
def test_a_query_is_answered_however_its_vector_is_written(
    machine: Caller, gateway: RunningGateway, vectors: Any
) -> None:
    answer = machine.post(f"{MOVIES}:recall", {"vectors": vectors, "top_k": 5})
    assert (answer.status, answer.body["version"], answer.body["ids"]) == (200, "1", expected(gateway, 5))
    assert len(answer.body["scores"]) == 5


def test_a_read_key_and_a_viewer_may_ask(gateway: RunningGateway, films: Tenant) -> None:
    reader = caller_by_key(films, "read", "movies")
    assert reader.post(f"{MOVIES}:recall", {"vectors": [VECTOR], "top_k": 1}).body["ids"] == expected(gateway, 1)
    assert reader.post(f"{MOVIES}:count").body == {"version": "1", "items": "100", "searchable_items": "90"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"vectors": [VECTOR[:4]], "top_k": 5}, "vectors.vectors[0]"),
        ({"vectors": [VECTOR], "top_k": 0}, "top_k"),
        ({"top_k": 5}, "query"),
        ({"vectors": [VECTOR], "top_k": 51}, "top_k"),
        ({"vectors": [VECTOR], "top_k": 5, "service": "tenants/books/services/novels"}, "service"),
    ],
)
def test_the_gateway_names_the_field_at_fault(machine: Caller, gateway: object, query: Any, field: str) -> None:
    answer = machine.post(f"{MOVIES}:recall", query)
    assert (answer.status, answer.error["code"]) == (400, "INVALID_ARGUMENT")
    assert [detail["field"] for detail in answer.error["details"]] == [field]
    assert answer.error["reason"] != "INVALID_ARGUMENT" or field == "service"


@pytest.mark.parametrize(
    "query",
    [
        {"vectorz": [VECTOR]},
        {"vectors": [["a"]]},
        {"vectors": "text"},
        {"vectors": [VECTOR], "top_k": "many"},
        {"vectors": [VECTOR], "top_k": 2**40},
        {"vectors": [VECTOR], "merge": "BEST"},
        {"vectors": [VECTOR], "items": {"items": []}},
    ],
)
def test_what_is_no_query_never_reaches_the_gateway(machine: Caller, films_service: Service, query: Any) -> None:
    answer = machine.post(f"{MOVIES}:recall", query)
    assert (answer.status, answer.error["reason"]) == (400, "MALFORMED_QUERY")


def test_a_number_beyond_all_floats_is_refused(machine: Caller, films_service: Service) -> None:
    for number in (b"1e999", b"1e39", b"1" + b"0" * 400):
        body = b'{"vectors": [[' + number + b']], "top_k": 1}'
        answer = machine.send("POST", f"{MOVIES}:recall", body, "application/json")
        assert (answer.status, answer.error["reason"]) == (400, "MALFORMED_QUERY")
        assert answer.error["details"][0]["field"] == "vectors.vectors[0].values.values[0]"


def test_there_may_be_nothing_live_yet(machine: Caller, gateway: RunningGateway) -> None:
    gateway.publish(versions=())
    answer = machine.post(f"{MOVIES}:recall", {"vectors": [VECTOR], "top_k": 5})
    assert (answer.status, answer.error["code"]) == (400, "FAILED_PRECONDITION")


def test_a_batch_gives_an_answer_or_an_error_for_each_query(machine: Caller, gateway: RunningGateway) -> None:
    queries = [
        {"vectors": [VECTOR], "top_k": 3, "return_vectors": True},
        {"vectors": [VECTOR[:4]], "top_k": 3},
        {"vectors": {"vectors": [{"values": VECTOR}]}, "top_k": 2},
    ]
    answer = machine.post(f"{MOVIES}:batchRecall", {"requests": queries})
    first, second, third = answer.body["results"]
    assert (first["response"]["ids"], third["response"]["ids"]) == (expected(gateway, 3), expected(gateway, 2))
    assert len(first["response"]["vectors"][0]["values"]["values"]) == len(VECTOR)
    assert (second["error"]["reason"], second["error"]["field"]) == ("DIMENSION_MISMATCH", "vectors.vectors[0]")


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        ({"requests": []}, "requests"),
        ({"requests": [{"vectors": [VECTOR], "top_k": 1}] * 1_001}, "requests"),
        ({"requests": "all"}, "requests"),
        ({"requests": [5]}, "requests[0]"),
        ({"requests": [{"topk": 5}]}, "requests[0].topk"),
        (
            {"requests": [{"vectors": [VECTOR]}, {"vectors": [["a"]]}]},
            "requests[1].vectors.vectors[0].values.values[0]",
        ),
        ({"queries": []}, "queries"),
        ({"requests": [{"vectors": [VECTOR]}], "service": "tenants/books/services/novels"}, "service"),
    ],
)
def test_the_field_at_fault_in_a_batch_is_named(machine: Caller, gateway: object, batch: Any, field: str) -> None:
    answer = machine.post(f"{MOVIES}:batchRecall", batch)
    assert (answer.status, answer.error["code"]) == (400, "INVALID_ARGUMENT")
    assert [detail["field"] for detail in answer.error["details"]] == [field]


def test_a_query_of_a_batch_reaches_no_other_service(machine: Caller, gateway: RunningGateway) -> None:
    query = {"vectors": [VECTOR], "top_k": 1, "service": "tenants/books/services/novels"}
    [result] = machine.post(f"{MOVIES}:batchRecall", {"requests": [query]}).body["results"]
    assert result["error"]["reason"] == "SERVICE_MISMATCH"


def test_attributes_vectors_and_timings_come_when_they_are_asked_for(machine: Caller, gateway: RunningGateway) -> None:
    query = {"vectors": [VECTOR], "top_k": 20}
    plain = machine.post(f"{MOVIES}:recall", query).body
    assert (plain["attributes"], plain["vectors"], "timings" in plain) == ([], [], False)

    full = machine.post(
        f"{MOVIES}:recall", query | {"return_attributes": ["year"], "return_vectors": True, "trace": True}
    ).body
    rows = [gateway.made.ids.index(int(number)) for number in full["ids"]]
    [column] = full["attributes"]
    years = [
        int(year) if there else None for year, there in zip(column["ints"]["values"], column["present"], strict=True)
    ]
    assert years == [year_of(row) for row in rows]
    assert None in years
    vectors = [vector["values"]["values"] for vector in full["vectors"]]
    assert np.allclose(vectors, gateway.made.vectors[rows])
    timings = {name: int(took) for name, took in full["timings"].items()}
    assert set(timings) == {"queue_us", "model_us", "search_us", "merge_us", "total_us"}
    assert 0 < sum(timings.values()) - timings["total_us"] <= timings["total_us"]


def test_who_names_a_version_or_a_model_is_answered_by_that_one(machine: Caller, gateway: RunningGateway) -> None:
    gateway.publish(versions=(2, 1))
    query = {"vectors": [VECTOR], "top_k": 5}
    asked = [{}, {"require_version": 1}, {"require_version": "2"}, {"model_version": "tower-1"}]
    for fields, version in zip(asked, (2, 1, 2, 1), strict=True):
        body = machine.post(f"{MOVIES}:recall", query | fields).body
        assert (body["version"], body["model_version"]) == (str(version), f"tower-{version}")
        assert {int(number) // IDS_PER_VERSION for number in body["ids"]} == {version}
    for fields, reason in (
        ({"require_version": 3}, "VERSION_NOT_LOADED"),
        ({"model_version": "tower-3"}, "MODEL_VERSION_NOT_LOADED"),
        ({"require_version": 2, "model_version": "tower-1"}, "MODEL_VERSION_NOT_LOADED"),
    ):
        answer = machine.post(f"{MOVIES}:recall", query | fields)
        assert (answer.status, answer.error["code"], answer.error["reason"]) == (400, "FAILED_PRECONDITION", reason)


@pytest.mark.parametrize("example", [*RECALL, *BATCH_RECALL], ids=lambda example: example.name)
def test_what_swagger_ui_offers_is_understood(machine: Caller, gateway: RunningGateway, example: Any) -> None:
    """Its vectors are of another dimension than the service's; nothing else about it is wrong."""
    if example.request_only:
        verb = "batchRecall" if "requests" in example.value else "recall"
        answer = machine.post(f"{MOVIES}:{verb}", example.value)
        assert answer.status in (200, 400)
        assert answer.status == 200 or answer.error["reason"] != "MALFORMED_QUERY"


def test_items_may_be_asked_by_and_their_coverage_is_told(machine: Caller, gateway: RunningGateway) -> None:
    first, second = gateway.made.ids[:2]
    items = [{"id": first}, {"id": str(second), "weight": 0.5}, {"id": 5, "weight": 0.5}]
    body = machine.post(f"{MOVIES}:recall", {"items": {"items": items}, "top_k": 5}).body
    mean = (gateway.made.vectors[0] + 0.5 * gateway.made.vectors[1]) / 1.5
    wanted, _ = exact_ids(gateway.made, mean, 5, exclude=[first, second])
    assert body["ids"] == [str(number) for number in wanted]
    assert body["coverage"]["missing"]["ids"] == ["5"]
    assert body["coverage"]["weight_covered"] == 0.75


def test_a_person_signed_in_to_the_console_may_ask(gateway: RunningGateway, alice: User, victor: User) -> None:
    for person in (alice, victor):
        caller = caller_by_session(person)
        assert caller.post(f"{MOVIES}:recall", {"vectors": [VECTOR], "top_k": 1}).body["ids"] == expected(gateway, 1)
        batch = {"requests": [{"vectors": [VECTOR], "top_k": 1}]}
        assert caller.post(f"{MOVIES}:batchRecall", batch).status == 200


def test_each_query_of_a_batch_counts(machine: Caller, gateway: RunningGateway, films: Tenant) -> None:
    make_service(films, "shorts")
    gateway.publish(service="shorts", qps=10)
    batch = {"requests": [{"vectors": [VECTOR], "top_k": 1}] * 40}
    answers = [machine.post("/tenants/films/services/shorts:batchRecall", batch) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert int(answers[1].headers["Retry-After"]) >= 3


def test_the_gateway_may_not_know_the_service_yet(machine: Caller, gateway: object, films: Tenant) -> None:
    make_service(films, "series")
    answer = machine.post("/tenants/films/services/series:count")
    assert (answer.status, answer.error["reason"]) == (400, "SERVICE_NOT_ROUTED")


def test_who_asks_too_often_is_told_when_to_come_again(machine: Caller, gateway: RunningGateway) -> None:
    gateway.publish(qps=1)
    answers = [machine.post(f"{MOVIES}:recall", {"vectors": [VECTOR], "top_k": 1}) for _ in range(20)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert refused[0].error["code"] == "RESOURCE_EXHAUSTED"
    assert int(refused[0].headers["Retry-After"]) >= 1


def test_a_replica_that_hangs_costs_no_more_than_the_deadline(
    machine: Caller, gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "DEADLINE_MS_MAX", 200)
    gateway.replica.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        answer = machine.post(f"{MOVIES}:recall", {"vectors": [VECTOR], "top_k": 1})
    finally:
        gateway.replica.process.send_signal(signal.SIGCONT)
    assert (answer.status, answer.error["code"]) == (504, "DEADLINE_EXCEEDED")
    assert time.monotonic() - started < 5


def test_a_gateway_that_is_away_is_said_without_its_address(
    machine: Caller, films_service: Service, settings: Any
) -> None:
    settings.GATEWAY_ADDRESS = "127.0.0.1:9"
    answer = machine.post(f"{MOVIES}:recall", {"vectors": [VECTOR], "top_k": 1})
    assert (answer.status, answer.error["reason"]) == (503, "GATEWAY_UNREACHABLE")
    assert "127.0.0.1" not in answer.error["message"]


def test_a_platform_with_another_token_is_told_so(machine: Caller, gateway: object, settings: Any) -> None:
    settings.INTERNAL_TOKEN = "another"
    answer = machine.post(f"{MOVIES}:count")
    assert (answer.status, answer.error["reason"]) == (503, "GATEWAY_REFUSES_PLATFORM")


def test_a_token_is_the_same_for_a_minute_and_another_for_others() -> None:
    one = {internal_token(tenant="films", service="movies", by="alice") for _ in range(100)}
    assert len(one) <= 2
    assert internal_token(tenant="books", service="movies", by="alice") not in one


def test_items_are_read_with_their_vectors(gateway: RunningGateway, alice: User, films_service: Service) -> None:
    request = {"items": {"ids": [gateway.made.ids[3], 999]}, "return_vectors": True}
    body = client.items_get(caller=caller_of_user(alice), service=films_service, request=request)
    assert (body["ids"], body["missing"]["ids"]) == ([str(gateway.made.ids[3])], ["999"])
    assert np.allclose(body["vectors"][0]["values"]["values"], gateway.made.vectors[3])


def test_packed_vectors_are_unpacked_for_people() -> None:
    packed = np.asarray([1.5, -2.0], dtype="<f4").tobytes()
    reply = recall_pb2.RecallResponse(version=3, ids=[7], vectors=[recall_pb2.Vector(packed=packed)])
    body = client._to_dict(reply)
    assert body["vectors"] == [{"values": {"values": [1.5, -2.0]}}]
    assert (body["version"], body["ids"], body["text_ids"], body["degraded"]) == ("3", ["7"], [], False)
