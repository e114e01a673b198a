"""What the gateway refuses of a query by items before it travels, in the words of the replica."""

from __future__ import annotations

import pytest

from gateway import checks, convert
from gateway.errors import InvalidRequest
from gateway.settings import Settings
from recallpb.v1 import recall_pb2
from replicas.errors import InvalidQuery
from replicas.item_checks import check_item_query
from replicas.loaded import load
from replicas.settings import HostSettings
from replicas.wire import read_query
from tests.gateway.harness import FILMS, Harness, refusal
from tests.support.artifacts import make_artifact
from tests.support.exact_replica import ExactReplica

NAN, INFINITY = float("nan"), float("inf")
ONE = recall_pb2.WeightedItem(id=1)
ITEMS_MAX = 1_000

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
        checks.check_item_query(asked, items_max=ITEMS_MAX)
    with pytest.raises(InvalidQuery) as at_the_replica:
        check_item_query(query.items, schema, items_max=ITEMS_MAX)

    said = [(each.value.field, each.value.reason, each.value.message) for each in (at_the_gateway, at_the_replica)]
    assert said[0] == said[1]
    assert said[0][:2] == (field, reason)


async def test_how_many_items_there_may_be_is_a_setting(harness: Harness, replica: ExactReplica) -> None:
    await harness.start(query_items_max=2)
    request = recall_pb2.RecallRequest(service=FILMS, items=recall_pb2.ItemQuery(items=[ONE] * 3), top_k=5)
    batch = recall_pb2.BatchRecallRequest(service=FILMS, requests=[request])

    refused = await refusal(harness.caller().recall(request))
    [result] = (await harness.caller().call("BatchRecall", batch)).results

    assert refused.details == result.error.message == "3 query items; there must be 1 to 2"
    assert replica.batches == []


def test_gateway_and_replica_read_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings().query_items_max, HostSettings().query_items_max) == (ITEMS_MAX, ITEMS_MAX)
    monkeypatch.setenv("RECALL_QUERY_ITEMS_MAX", "7")
    assert (Settings().query_items_max, HostSettings().query_items_max) == (7, 7)
