"""What callers are answered when all is well."""

from __future__ import annotations

import numpy as np

from recallpb.v1 import recall_pb2
from tests.gateway.harness import DIMENSION, FILMS, Harness, limits, query, route, route_version
from tests.support.exact_replica import ExactReplica, ids_of_version


def exact_ids(replica: ExactReplica, vector: np.ndarray, top_k: int) -> list[int]:
    best = np.argsort(-(replica.vectors @ vector.astype(np.float32)), kind="stable")[:top_k]
    return [replica.version * 1_000_000 + int(row) for row in best]


async def test_it_answers_what_exact_search_finds(films: Harness, replica: ExactReplica) -> None:
    vector = np.random.default_rng(7).normal(size=DIMENSION)
    answer = await films.caller().recall(query(vector=vector, top_k=10))
    assert list(answer.ids) == exact_ids(replica, vector, 10)
    assert (answer.version, answer.replica) == (1, "r1")
    assert list(answer.scores) == sorted(answer.scores, reverse=True)


async def test_it_answers_a_batch_in_order_with_an_error_where_a_query_is_wrong(
    films: Harness, replica: ExactReplica
) -> None:
    vectors = np.random.default_rng(3).normal(size=(150, DIMENSION))
    requests = [query("", vector=vector, top_k=3) for vector in vectors]
    requests[70] = query("", top_k=0)
    requests[80] = query("", vector=np.full(DIMENSION, np.nan))
    requests[90] = query("tenants/books/services/novels")
    answer = await films.caller().call("BatchRecall", recall_pb2.BatchRecallRequest(service=FILMS, requests=requests))
    errors = {place: result.error for place, result in enumerate(answer.results) if result.HasField("error")}
    assert {place: error.reason for place, error in errors.items()} == {
        70: "TOP_K_OUT_OF_RANGE",
        80: "NOT_FINITE",
        90: "SERVICE_MISMATCH",
    }
    assert (errors[70].code, errors[70].field) == (3, "top_k")
    for place, result in enumerate(answer.results):
        if place not in errors:
            assert list(result.response.ids) == exact_ids(replica, vectors[place], 3)


async def test_it_counts_items_from_the_route(films: Harness) -> None:
    answer = await films.caller().call("CountItems", recall_pb2.CountItemsRequest(service=FILMS))
    assert (answer.version, answer.items, answer.searchable_items) == (1, 100, 90)


async def test_it_gets_items_and_names_the_missing_ones(films: Harness) -> None:
    wanted = recall_pb2.ItemIds(ids=[1_000_001, 5])
    answer = await films.caller().call("GetItems", recall_pb2.GetItemsRequest(service=FILMS, items=wanted))
    assert (answer.version, list(answer.ids), list(answer.missing.ids)) == (1, [1_000_001], [5])


async def test_it_tells_schema_versions_and_limits(harness: Harness) -> None:
    live, previous = await harness.replica("new", 2), await harness.replica("old", 1)
    versions = (route_version(2, live.address), route_version(1, previous.address))
    harness.publish(route(*versions, limits=limits(qps=50, concurrency=7)))
    await harness.start()
    answer = await harness.caller().call("GetServiceInfo", recall_pb2.GetServiceInfoRequest(service=FILMS))
    assert (answer.service, answer.schema.dimension, answer.schema.metric) == (FILMS, DIMENSION, "ip")
    assert [attribute.name for attribute in answer.schema.attributes] == ["genre"]
    assert (answer.live.version, answer.live.model_version, answer.previous.version) == (2, "model-2", 1)
    assert (answer.limits.qps, answer.limits.concurrency, answer.limits.max_top_k) == (50, 7, 100)


async def test_it_answers_from_the_version_and_the_model_that_the_caller_requires(harness: Harness) -> None:
    live, previous = await harness.replica("new", 2), await harness.replica("old", 1)
    harness.publish(route(route_version(2, live.address), route_version(1, previous.address)))
    await harness.start()
    alice = harness.caller()
    asked = [
        {},
        {"require_version": 1},
        {"model_version": "model-1"},
        {"require_version": 2, "model_version": "model-2"},
    ]
    answers = [await alice.recall(query(**fields)) for fields in asked]
    assert [answer.version for answer in answers] == [2, 1, 1, 2]
    assert all(set(answer.ids) <= set(ids_of_version(answer.version, 100)) for answer in answers)


async def test_a_batch_may_mix_versions(harness: Harness) -> None:
    live, previous = await harness.replica("new", 2), await harness.replica("old", 1)
    harness.publish(route(route_version(2, live.address), route_version(1, previous.address)))
    await harness.start()
    requests = [query("", require_version=number) for number in (0, 1, 2, 1, 3)]
    answer = await harness.caller().call("BatchRecall", recall_pb2.BatchRecallRequest(service=FILMS, requests=requests))
    assert [result.response.version for result in answer.results] == [2, 1, 2, 1, 0]
    assert (answer.results[4].error.code, answer.results[4].error.reason) == (9, "VERSION_NOT_LOADED")
