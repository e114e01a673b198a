"""What is no query over REST: the field is named as it was written, and said in words for people."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from catalog.models import Service
from common.errors import InvalidArgument
from recallpb.v1 import recall_pb2
from tests.api.conftest import Caller
from versions.queries.fields import check_fields, check_values

MOVIES = "/tenants/films/services/movies"
FEATURE_SHAPE = '{"ints"|"floats"|"strings": {"values": [...]}}'
# Words of Python and of protobuf, which mean nothing to who wrote JSON.
LIBRARY_WORDS = ("recallpb", "Message type", "object", "iterable", "bytes-like", "enum", "parse", "\n")
REQUEST = recall_pb2.RecallRequest.DESCRIPTOR


def by_features(**features: Any) -> dict[str, Any]:
    return {"features": {"features": features}, "top_k": 2}


def refused_by_rest(machine: Caller, query: Any) -> tuple[str, str]:
    """The field and the message of a query's refusal."""
    answer = machine.post(f"{MOVIES}:recall", query)
    assert (answer.status, answer.error["code"], answer.error["reason"]) == (400, "INVALID_ARGUMENT", "MALFORMED_QUERY")
    [detail] = answer.error["details"]
    assert detail["message"] == answer.error["message"]
    return detail["field"], detail["message"]


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ({"topk": 5}, "topk", "There is no field topk; did you mean top_k?"),
        ({"TopK": 5}, "TopK", "There is no field TopK; did you mean top_k?"),
        ({"params": {"nprobes": 5}}, "params.nprobes", "There is no field params.nprobes; did you mean nprobe?"),
        ({"params": {"zzz": 5}}, "params.zzz", "There is no field params.zzz; there are ef, exact, nprobe."),
        ({"features": {"age": 31}}, "features.age", "There is no field features.age; there is features."),
        ({"exclude": [1]}, "exclude", 'exclude must be {"ids"|"text_ids": [...]}; it is a list.'),
        ({"top_k": 2**40}, "top_k", "top_k must be a whole number of 32 bits; it is 1099511627776."),
        ({"top_k": {}}, "top_k", "top_k must be a whole number of 32 bits; it is an object."),
        ({"merge": "max"}, "merge", 'merge must be one of MAX, WEIGHTED_SUM, ROUND_ROBIN; it is "max".'),
        ({"merge": [1]}, "merge", "merge must be one of MAX, WEIGHTED_SUM, ROUND_ROBIN; it is a list."),
        (
            {"items": {"items": [{"id": 1}], "on_missing": "fail"}},
            "items.on_missing",
            'items.on_missing must be one of SKIP, FAIL, MIN_COVERAGE; it is "fail".',
        ),
        ({"filter": 5}, "filter", "filter must be a text; it is 5."),
        ({"trace": "yes"}, "trace", 'trace must be true or false; it is "yes".'),
        ({"return_attributes": "year"}, "return_attributes", 'return_attributes must be a list; it is "year".'),
        ({"return_attributes": [None]}, "return_attributes[0]", "return_attributes[0] must be a text; it is null."),
    ],
)
def test_a_wrong_field_is_named_as_it_was_written(
    machine: Caller, films_service: Service, query: Any, field: str, said: str
) -> None:
    assert refused_by_rest(machine, query) == (field, said)


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ([["a"]], "vectors.vectors[0].values.values[0]", 'must be a number (float32); it is "a".'),
        ([1, 0, 0, 0], "vectors.vectors[0]", "must be one of a list of vectors, [[...]]; it is 1."),
        ("text", "vectors", 'must be a list of vectors, [[...]]; it is "text".'),
        ([{"packed": "!!"}], "vectors.vectors[0].packed", 'must be bytes in base64; it is "!!".'),
        ([{"packed": "A"}], "vectors.vectors[0].packed", 'must be bytes in base64; it is "A".'),
        ([{"packed": [0]}], "vectors.vectors[0].packed", "must be bytes in base64; it is a list."),
        ({"vectors": [[1]], "weights": 1}, "vectors.weights", "must be a list; it is 1."),
        ({"vectors": [[1]], "weights": [1, None]}, "vectors.weights[1]", "must be a number (float32); it is null."),
    ],
)
def test_a_vector_that_is_none_is_named(
    machine: Caller, films_service: Service, query: Any, field: str, said: str
) -> None:
    assert refused_by_rest(machine, {"vectors": query, "top_k": 2}) == (field, f"{field} {said}")


@pytest.mark.parametrize(
    ("item", "field", "said"),
    [
        ({"id": 99999999999999999999}, ".id", "must be a whole number of 64 bits; it is 99999999999999999999."),
        ({"id": 1.5}, ".id", "must be a whole number of 64 bits; it is 1.5."),
        (
            {"id": "sku-1"},
            ".id",
            'must be a whole number of 64 bits; it is "sku-1". A text is sent as `text_id`.',
        ),
        ({"text_id": 7}, ".text_id", "must be a text; it is 7."),
        ({"id": 1, "weight": "much"}, ".weight", 'must be a number (float32); it is "much".'),
        (11, "", 'must be {"id"|"text_id": ..., "weight": ...}; it is 11.'),
    ],
)
def test_the_item_at_fault_is_named_by_its_place(
    machine: Caller, films_service: Service, item: Any, field: str, said: str
) -> None:
    field = f"items.items[1]{field}"
    query = {"items": {"items": [{"id": 1}, item]}, "top_k": 2}
    assert refused_by_rest(machine, query) == (field, f"{field} {said}")


@pytest.mark.parametrize(
    ("feature", "below", "said"),
    [
        (31, "", f"must be {FEATURE_SHAPE}; it is 31."),
        (None, "", f"must be {FEATURE_SHAPE}; it is null."),
        ([1, 8], "", f"must be {FEATURE_SHAPE}; it is a list."),
        ("Riga", "", f'must be {FEATURE_SHAPE}; it is "Riga".'),
        ({"ints": [1, 8]}, ".ints", 'must be {"values": [...]}; it is a list.'),
        ({"strings": {"values": [5]}}, ".strings.values[0]", "must be a text; it is 5."),
        ({"ints": {"values": [1, 31.5]}}, ".ints.values[1]", "must be a whole number of 64 bits; it is 31.5."),
    ],
)
def test_the_feature_at_fault_is_named_with_what_it_must_be(
    machine: Caller, films_service: Service, feature: Any, below: str, said: str
) -> None:
    field, message = refused_by_rest(machine, by_features(hist_item={"ints": {"values": [1]}}, age=feature))
    assert field == f'features.features["age"]{below}'
    assert message == f"{field} {said}"


def test_a_kind_of_feature_that_there_is_not_is_named(machine: Caller, films_service: Service) -> None:
    field, message = refused_by_rest(machine, by_features(age={"float": {}}))
    assert field == 'features.features["age"].float'
    assert message == f"There is no field {field}; did you mean floats?"


@pytest.mark.parametrize(
    ("query", "field", "first"),
    [
        ({"vectors": [[1.0]], "items": {"items": [{"id": 1}]}}, "items", "vectors"),
        ({"top_k": 5, "topK": 7}, "topK", "top_k"),
        ({"items": {"items": [{"id": 1, "text_id": "a"}]}}, "items.items[0].text_id", "items.items[0].id"),
        ({"vectors": [{"packed": "", "values": [1.0]}]}, "vectors.vectors[0].values", "vectors.vectors[0].packed"),
        (
            by_features(age={"ints": {}, "floats": {}}),
            'features.features["age"].floats',
            'features.features["age"].ints',
        ),
    ],
)
def test_what_is_written_twice_is_refused_and_not_guessed(
    machine: Caller, films_service: Service, query: Any, field: str, first: str
) -> None:
    assert refused_by_rest(machine, query) == (field, f"{first} and {field} are both given; give one of them.")


def test_what_is_null_counts_as_not_written(machine: Caller, films_service: Service, settings: Any) -> None:
    """Then nothing is wrong with the query, and it gets as far as a gateway that is away."""
    settings.GATEWAY_ADDRESS = "127.0.0.1:9"
    answer = machine.post(f"{MOVIES}:recall", {"vectors": [[1.0]], "items": None, "filter": None, "top_k": 2})
    assert answer.error["reason"] == "GATEWAY_UNREACHABLE"


def test_a_fault_of_one_query_of_a_batch_is_named_by_its_place(machine: Caller, films_service: Service) -> None:
    batch = {"requests": [by_features(), by_features(age=31)]}
    answer = machine.post(f"{MOVIES}:batchRecall", batch)
    assert [detail["field"] for detail in answer.error["details"]] == ['requests[1].features.features["age"]']


# Each is right for some field or other; the whole numbers reach beyond what 64 bits and floats hold.
SAMPLES = [None, True, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, 1.0, 1e39, float("inf"), "", "1", "1.0", "1e400", "NaN"]
SAMPLES += ["nan", "Infinity", "SKIP", "MAX", "AACAPw==", "!!", "sku-1", [], {}, [1], ["a"], [None], {"values": [1]}]
ANYTHING = st.sampled_from(SAMPLES) | st.text(st.characters(codec="utf-8"), max_size=3) | st.integers()
LISTS = st.lists(ANYTHING, max_size=2)
NAMES = st.sampled_from(["age", "", 'a"b'])


def json_of(message: Any) -> st.SearchStrategy[Any]:
    """JSON with the message's own field names, each of which holds what it should or anything."""
    return st.fixed_dictionaries({}, optional={field.name: ANYTHING | value_of(field) for field in message.fields})


def value_of(field: Any) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is None:
        return LISTS if field.is_repeated else ANYTHING
    if kind.GetOptions().map_entry:
        return st.dictionaries(NAMES, json_of(kind.fields_by_name["value"].message_type), max_size=2)
    return st.lists(json_of(kind), max_size=2) if field.is_repeated else json_of(kind)


# What it draws is small, and a busy machine draws it slowly all the same.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(query=json_of(REQUEST))
def test_whatever_protobuf_refuses_is_said_in_our_words(query: dict[str, Any]) -> None:
    try:
        check_fields(query, REQUEST)
        json_format.ParseDict(query, recall_pb2.RecallRequest())
    except InvalidArgument as error:
        refused = error
    except (json_format.ParseError, OverflowError) as cause:
        with pytest.raises(InvalidArgument) as caught:
            check_values(query, REQUEST)
        refused = caught.value
        event(f"a value: {type(cause).__name__}")
    else:
        event("parsed")
        return
    assert refused.field
    assert refused.field in refused.message
    said = refused.message.removeprefix(refused.field).partition("; it is ")[0]
    assert not [word for word in LIBRARY_WORDS if word in said.replace("an object", "")]
