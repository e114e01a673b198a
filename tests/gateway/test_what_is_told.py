"""Attributes, vectors and timings come exactly as asked for, from real replicas, over gRPC and the Python client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recall_client import Answer, AsyncClient, InvalidArgument, ItemQuery, Query, WeightedItem
from recallpb.v1 import recall_pb2
from tests.gateway.harness import ALICES_KEY, FILMS, Harness, limits, route
from tests.gateway.real import by_vectors, route_of, rows_of
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact
from tests.support.replica_hosts import Host, running_host

DIMENSION = 16
ITEMS = 300
# Of each type one column with values everywhere and one with gaps.
FULL: dict[str, tuple[str, list[Any]]] = {
    "title": ("string", [f"film {row}" for row in range(ITEMS)]),
    "year": ("int64", [1900 + row for row in range(ITEMS)]),
    "rating": ("float64", [row / 7 for row in range(ITEMS)]),
    "seen": ("bool", [row % 2 == 0 for row in range(ITEMS)]),
    "genres": ("list<string>", [["noir", f"g{row % 3}"][: row % 3] for row in range(ITEMS)]),
}
GAPS = {
    f"some_{name}": (kind, [None if row % 3 == 0 else value for row, value in enumerate(values)])
    for name, (kind, values) in FULL.items()
}
ATTRIBUTES = {**FULL, **GAPS, "nothing": ("string", [None] * ITEMS)}
SERVICES = {"int64": "movies", "string": "texts"}
Told = tuple[Harness, dict[str, MadeArtifact]]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[MadeArtifact, Host]]]:
    """One service with numbers as ids and one with texts."""
    with ExitStack() as stack:
        found = {}
        for id_type, service in SERVICES.items():
            made = make_artifact(
                tmp_path_factory.mktemp(service),
                items=ITEMS,
                dimension=DIMENSION,
                service=service,
                text_ids=id_type == "string",
                attributes=ATTRIBUTES,
                hidden=20,
            )
            found[id_type] = made, stack.enter_context(running_host(made))
        yield found


@pytest.fixture
async def told(harness: Harness, hosts: dict[str, tuple[MadeArtifact, Host]]) -> Told:
    for id_type, (made, host) in hosts.items():
        name = f"tenants/films/services/{SERVICES[id_type]}"
        harness.publish(route(route_of(made, host), name=name, limits=limits(allow_exact=True)))
    await harness.start()
    return harness, {id_type: made for id_type, (made, _) in hosts.items()}


def client_of(harness: Harness, id_type: str) -> AsyncClient:
    address = f"127.0.0.1:{harness.port}"
    return AsyncClient(address, ALICES_KEY, service=f"films/{SERVICES[id_type]}", deadline_ms=5_000)


@given(
    id_type=st.sampled_from(list(SERVICES)),
    names=st.lists(st.sampled_from(list(ATTRIBUTES)), unique=True, max_size=6),
    vectors=st.booleans(),
    top_k=st.integers(1, 60),
    query=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_columns_are_those_of_the_items_and_in_the_order_asked_for(
    told: Told, id_type: str, names: list[str], vectors: bool, top_k: int, query: int
) -> None:
    harness, made_of = told
    made = made_of[id_type]
    options: dict[str, Any] = {"return_attributes": names, "return_vectors": vectors, "top_k": top_k}
    async with client_of(harness, id_type) as client:
        single = await client.recall(made.queries[query], **options)
        [batched] = await client.batch_recall([Query(made.queries[query], **options)])
        items = await client.get_items(single.ids, return_attributes=names, return_vectors=vectors)
    assert isinstance(batched, Answer)
    for found in (single, batched, items):
        rows = rows_of(made, found.ids.tolist())
        assert list(found.attributes) == names
        for name, column in found.attributes.items():
            assert column.tolist() == [ATTRIBUTES[name][1][row] for row in rows]
        assert (found.vectors is not None) == vectors
        if found.vectors is not None:
            np.testing.assert_array_equal(found.vectors, made.vectors[rows])


@pytest.mark.parametrize("names", [["colour"], ["year", "year"], ["year"] * 65, [""]])
async def test_attributes_that_cannot_be_told_are_refused(told: Told, names: list[str]) -> None:
    harness, made_of = told
    async with client_of(harness, "int64") as client:
        with pytest.raises(InvalidArgument) as caught:
            await client.recall(made_of["int64"].queries[0], return_attributes=names)
        with pytest.raises(InvalidArgument) as of_items:
            await client.get_items(made_of["int64"].ids[:1], return_attributes=names)
    assert caught.value.field == of_items.value.field == "return_attributes"


@given(
    interests=st.integers(1, 6),
    top_k=st.integers(1, 100),
    exact=st.booleans(),
    batch=st.integers(0, 20),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_parts_of_the_time_are_within_the_whole_and_the_whole_within_the_call(
    told: Told, interests: int, top_k: int, exact: bool, batch: int
) -> None:
    harness, made_of = told
    params = recall_pb2.SearchParams(exact=exact)
    traced = by_vectors(*made_of["int64"].queries[:interests], top_k=top_k, params=params, trace=True)
    silent = by_vectors(*made_of["int64"].queries[:interests], top_k=top_k, params=params)
    caller = harness.caller()
    started = time.monotonic()
    if batch:
        request = recall_pb2.BatchRecallRequest(service=FILMS, requests=[traced, silent] * batch)
        answers = [result.response for result in (await caller.call("BatchRecall", request)).results]
    else:
        answers = [await caller.recall(traced), await caller.recall(silent)]
    took_us = (time.monotonic() - started) * 1e6
    for answer in answers[::2]:
        timings = answer.timings
        parts = (timings.queue_us, timings.model_us, timings.search_us, timings.merge_us)
        assert min(parts) >= 0
        assert timings.search_us > 0
        assert timings.model_us == 0, "vectors need no model"
        assert sum(parts) <= timings.total_us <= took_us
    assert not any(answer.HasField("timings") for answer in answers[1::2])


@pytest.mark.parametrize("id_type", SERVICES)
async def test_the_client_asks_by_items_and_hears_which_were_known(told: Told, id_type: str) -> None:
    harness, made_of = told
    made = made_of[id_type]
    first, second, seen = made.ids[:3]
    unknown = "nothing" if id_type == "string" else 5
    mean = (made.vectors[0] + 0.5 * made.vectors[1]) / 1.5
    expected, scores = exact_ids(made, mean, 10, exclude=[first, second, seen])
    query = ItemQuery([first, (second, 0.5), WeightedItem(unknown, 0.5)])
    async with client_of(harness, id_type) as client:
        single = await client.recall(query, exclude=[seen])
        batched, refused = await client.batch_recall(
            [Query(query, exclude=[seen]), ItemQuery([first, unknown], on_missing="fail")]
        )
    assert isinstance(batched, Answer)
    for answer in (single, batched):
        assert answer.ids.tolist() == expected
        np.testing.assert_allclose(answer.scores, scores, rtol=1e-4)
        assert answer.coverage is not None
        assert (answer.coverage.used.tolist(), answer.coverage.missing.tolist()) == ([first, second], [unknown])
        assert answer.coverage.weight_covered == 0.75
    assert isinstance(refused, InvalidArgument)
    assert (refused.reason, refused.field.startswith("items.items[1]")) == ("ITEM_UNKNOWN", True)
