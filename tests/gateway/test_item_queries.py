"""What the gateway refuses of a query by items before it travels, in the words of the replica."""

from __future__ import annotations

import pytest

from gateway import checks, convert
from gateway.errors import InvalidRequest
from recallpb.v1 import recall_pb2
from replicas.errors import InvalidQuery
from replicas.item_checks import check_item_query
from replicas.loaded import load
from replicas.wire import read_query
from tests.gateway.harness import FILMS, Harness, refusal
from tests.support.artifacts import make_artifact
from tests.support.exact_replica import ExactReplica

NAN, INFINITY = float("nan"), float("inf")
ONE = recall_pb2.WeightedItem(id=1)

WRONG: dict[str, tuple[recall_pb2.ItemQuery, str, str]] = {
    "none": (recall_pb2.ItemQuery(), "items.items", "ITEM_COUNT_OUT_OF_RANGE"),
    "too many": (recall_pb2.ItemQuery(items=[ONE] * 1_001), "items.items", "ITEM_COUNT_OUT_OF_RANGE"),
    "a weight that is none": (
        recall_pb2.ItemQuery(items=[ONE, recall_pb2.WeightedItem(id=2, weight=NAN)]),
        "items.items[1].weight",
        "WEIGHT_NOT_FINITE",
    ),
    "an infinite weight": (
        recall_pb2.ItemQuery(items=[recall_pb2.WeightedItem(id=2, weight=-INFINITY)]),
        "items.items[0].weight",
        "WEIGHT_NOT_FINITE",
    ),
    "a negative half-life": (
        recall_pb2.ItemQuery(items=[ONE], half_life_seconds=-0.5),
        "items.half_life_seconds",
        "HALF_LIFE_OUT_OF_RANGE",
    ),
    "an endless half-life": (
        recall_pb2.ItemQuery(items=[ONE], half_life_seconds=INFINITY),
        "items.half_life_seconds",
        "HALF_LIFE_OUT_OF_RANGE",
    ),
    "too much coverage": (
        recall_pb2.ItemQuery(items=[ONE], min_coverage=1.5),
        "items.min_coverage",
        "MIN_COVERAGE_OUT_OF_RANGE",
    ),
    "a coverage that is none": (
        recall_pb2.ItemQuery(items=[ONE], min_coverage=NAN),
        "items.min_coverage",
        "MIN_COVERAGE_OUT_OF_RANGE",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_it_never_travels(films: Harness, replica: ExactReplica, wrong: str) -> None:
    items, field, reason = WRONG[wrong]
    request = recall_pb2.RecallRequest(service=FILMS, items=items, top_k=5)
    refused = await refusal(films.caller().recall(request))
    assert (refused.reason, refused.fields) == (reason, [field])
    assert replica.batches == []


@pytest.mark.parametrize("wrong", WRONG)
def test_the_replica_would_say_the_same(wrong: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    items, field, reason = WRONG[wrong]
    payload = recall_pb2.RecallRequest(service=FILMS, items=items, top_k=5).SerializeToString()
    made = make_artifact(tmp_path_factory.mktemp("made"), items=5)
    schema = load(made.path, made.manifest_sha256, search_threads=1).schema

    asked = convert.query_in(payload).items
    assert asked is not None
    query = read_query(payload, arrived=0.0, deadline_ms=0, queued_us=0)

    with pytest.raises(InvalidRequest) as at_the_gateway:
        checks.check_item_query(asked)
    with pytest.raises(InvalidQuery) as at_the_replica:
        check_item_query(query.items, schema, items_max=checks.QUERY_ITEMS_MAX)

    said = [(each.value.field, each.value.reason, each.value.message) for each in (at_the_gateway, at_the_replica)]
    assert said[0] == said[1]
    assert said[0][:2] == (field, reason)
