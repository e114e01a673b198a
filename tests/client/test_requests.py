"""What the Python client makes of the values that a program has, held to the messages of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recall_client import Client, FeatureQuery, ItemQuery, Query, WeightedItem
from recall_client.requests import batch_request, items_request, recall_request
from recallpb.v1 import recall_pb2
from tests.client.scripted import serving

SERVICE = "tenants/films/services/similar"
KEY = "rk_alicekey_0123456789abcdefghijABCDEFGHIJ01"


def asked_by(query: Any, **options: Any) -> recall_pb2.RecallRequest:
    return recall_request(SERVICE, query, 10, **options)


def test_items_may_be_ids_weights_pairs_or_whole_items() -> None:
    items = [7, (8, 0.5), WeightedItem(9, -1.0, 1_700_000_000), (10, None, 5)]
    query = ItemQuery(items, half_life_seconds=3600, on_missing="min_coverage", min_coverage=0.5, keep_query_items=True)
    sent = asked_by(query).items
    assert [(item.id, item.weight if item.HasField("weight") else None) for item in sent.items] == [
        *((7, None), (8, 0.5), (9, -1.0), (10, None)),
    ]
    assert [item.timestamp_seconds for item in sent.items if item.HasField("timestamp_seconds")] == [1_700_000_000, 5]
    assert (sent.half_life_seconds, sent.on_missing) == (3600, recall_pb2.MIN_COVERAGE)
    assert (sent.min_coverage, sent.keep_query_items) == (0.5, True)


def test_items_may_be_a_mapping_and_their_ids_texts() -> None:
    sent = asked_by(ItemQuery({"a": 1.0, "b": 0.25})).items
    assert [(item.text_id, item.weight) for item in sent.items] == [("a", 1.0), ("b", 0.25)]
    assert [item.id for item in asked_by(ItemQuery(np.array([5, 6]))).items.items] == [5, 6]


@pytest.mark.parametrize(
    ("value", "field", "sent"),
    [
        (3, "ints", [3]),
        ([1, 2], "ints", [1, 2]),
        (True, "ints", [1]),
        ([], "ints", []),
        (np.array([1, 2], dtype=np.int32), "ints", [1, 2]),
        (0.5, "floats", [0.5]),
        ([1, 0.5], "floats", [1.0, 0.5]),
        (np.array([], dtype=np.float32), "floats", []),
        ("noir", "strings", ["noir"]),
        (["a", "b"], "strings", ["a", "b"]),
        (np.array(["a", "b"]), "strings", ["a", "b"]),
    ],
)
def test_a_feature_travels_as_what_it_is(value: Any, field: str, sent: list[Any]) -> None:
    feature = asked_by(FeatureQuery({"hist_item": value})).features.features["hist_item"]
    assert feature.WhichOneof("value") == field
    assert list(getattr(feature, field).values) == sent


@pytest.mark.parametrize("value", [[[1], [2]], [[1], [2, 3]], ["a", 1], [None], {"a": 1}, b"bytes", [2**70]])
def test_what_is_no_feature_is_refused_with_its_name(value: Any) -> None:
    with pytest.raises(ValueError, match="hist_item"):
        asked_by(FeatureQuery({"hist_item": value}))


def test_options_travel_and_absent_ones_stay_absent() -> None:
    request = asked_by(np.ones(4), filter='genre == "noir"', nprobe=8, exclude=np.array([1, 2]))
    assert (request.filter, request.params.nprobe, list(request.exclude.ids)) == ('genre == "noir"', 8, [1, 2])
    assert not request.params.HasField("ef")
    assert list(asked_by(np.ones(4), exclude=["a"]).exclude.text_ids) == ["a"]


def test_each_query_of_a_batch_may_have_its_own_options() -> None:
    queries = [np.ones(4), Query(ItemQuery([1]), exclude=[1], top_k=3), Query(np.ones((2, 4)), weights=[1, 2])]
    first, second, third = batch_request(SERVICE, queries, 10, trace=True).requests
    assert [request.top_k for request in (first, second, third)] == [10, 3, 10]
    assert [request.trace for request in (first, second, third)] == [True] * 3
    assert [request.WhichOneof("query") for request in (first, second, third)] == ["vectors", "items", "vectors"]
    assert list(second.exclude.ids) == [1]
    assert list(third.vectors.weights) == [1, 2]


def test_a_query_that_asks_for_nothing_is_the_gateways_to_refuse() -> None:
    """It used to ask for as many as the batch, which the caller had not said."""
    (sent,) = batch_request(SERVICE, [Query(np.ones(4), top_k=0)], 10).requests
    assert sent.top_k == 0


def test_a_matrix_is_a_batch_of_single_vectors() -> None:
    sent = batch_request(SERVICE, np.eye(3, 4), 5).requests
    assert [len(request.vectors.vectors) for request in sent] == [1, 1, 1]
    assert np.frombuffer(sent[1].vectors.vectors[0].packed, "<f4").tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("query", "options", "said"),
    [
        (np.ones((2, 2, 4)), {}, "shape"),
        (["a", "b"], {}, "float"),
        (np.ones(4), {"merge": "best"}, "merge must be one of max, weighted_sum, round_robin"),
        (ItemQuery([1], on_missing="ignore"), {}, "on_missing must be one of skip, fail, min_coverage"),
        (ItemQuery([1]), {"weights": [1.0]}, "weights are of several query vectors"),
    ],
)
def test_what_no_message_can_hold_is_said_before_anything_is_sent(query: Any, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked_by(query, **options)


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="filters"):
        asked_by(np.ones(4), filters="x")


def test_a_deadline_must_be_ahead() -> None:
    with Client("127.0.0.1:1", KEY, service="films/similar") as client, pytest.raises(ValueError, match="deadline_ms"):
        client.recall(np.ones(4), deadline_ms=0)


def test_the_answer_to_items_says_which_were_used() -> None:
    def handler(request: Any, context: Any) -> recall_pb2.RecallResponse:
        coverage = recall_pb2.ItemCoverage(
            used=recall_pb2.ItemIds(ids=[1]), missing=recall_pb2.ItemIds(ids=[2]), weight_covered=0.5
        )
        return recall_pb2.RecallResponse(version=1, ids=[4], scores=[1], coverage=coverage)

    with serving(handler) as gateway, Client(gateway.address, KEY, service="films/similar") as client:
        answer = client.recall(ItemQuery([1, 2]))
    assert answer.coverage is not None
    assert (answer.coverage.used.tolist(), answer.coverage.missing.tolist()) == ([1], [2])
    assert answer.coverage.weight_covered == 0.5


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: asked_by(np.zeros(4), exclude="abc"), r"ids must be several ids, such as \['abc'\]"),
        (lambda: items_request(SERVICE, "abc"), r"ids must be several ids, such as \['abc'\]"),
        (lambda: asked_by(ItemQuery("abc")), r"items must be several items, such as \['abc'\]"),
    ],
)
def test_one_text_is_not_taken_for_the_ids_that_its_letters_are(ask: Callable[[], object], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        ask()


def test_a_least_coverage_that_nobody_looks_at_is_refused() -> None:
    with pytest.raises(ValueError, match="min_coverage says nothing with on_missing='skip'; set it to 'min_coverage'"):
        asked_by(ItemQuery([1], min_coverage=0.5))
