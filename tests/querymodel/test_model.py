"""A query model's vectors against plain numpy, and each query's own error."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from querymodel.errors import FeatureInvalid, ModelFailed, ModelRefused, ModelTooSlow
from querymodel.spec import Feature
from tests.querymodel.conftest import Open, user
from tests.support.query_models import FLOAT, INT64, Tower, endless_loop, model, node, tensor

AGE = {"name": "age", "type": "float32"}


@pytest.mark.parametrize("vectors", [1, 4])
@pytest.mark.parametrize("batch", ["B", 1])
@pytest.mark.parametrize("one_column", [False, True])
def test_it_gives_what_the_same_tower_gives_in_numpy(
    opened: Open, vectors: int, batch: int | str, one_column: bool
) -> None:
    tower = Tower.of(1, vectors=vectors, batch=batch, one_column=one_column)
    random = np.random.default_rng(2)
    users = [(random.integers(0, 50, length).tolist(), float(random.normal())) for length in range(12)]

    found = opened(tower.onnx(), tower.schema()).encode([user(*each) for each in users])

    for each, got in zip(users, found, strict=True):
        assert isinstance(got, np.ndarray)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, tower.vectors_of(*each), rtol=1e-4, atol=1e-5)


def test_a_bad_query_leaves_the_others_of_its_batch_alone(opened: Open, tower: Tower) -> None:
    asked = [user([1, 2]), user([1, 999]), user([3]), {"age": Feature("floats", [1.0])}, user([4], float("nan"))]

    found = opened(tower.onnx(), tower.schema()).encode(asked)

    for place, history in ((0, [1, 2]), (2, [3])):
        np.testing.assert_allclose(found[place], tower.vectors_of(history, 1.0), rtol=1e-4, atol=1e-5)
    assert isinstance(found[1], ModelFailed)
    assert found[1].reason == "MODEL_REFUSED"
    assert "999" in found[1].message
    assert [(each.feature, each.reason) for each in found[3:]] == [
        ("history", "FEATURE_MISSING"),
        ("age", "FEATURE_NOT_FINITE"),
    ]


@pytest.mark.parametrize(
    ("changes", "sent", "read"),
    [
        ({"truncate": "keep_last"}, [1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7]),
        ({"truncate": "keep_first"}, [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5]),
        ({"pad": 49}, [1, 2], [1, 2]),
        ({}, [], []),
    ],
)
def test_a_list_is_cut_and_filled_as_the_schema_says(
    opened: Open, tower: Tower, changes: dict[str, Any], sent: list[int], read: list[int]
) -> None:
    found = opened(tower.onnx(), tower.schema(**changes)).encode([user(sent)])[0]

    np.testing.assert_allclose(found, tower.vectors_of(read, 1.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("unknown", "sent", "read"),
    [
        ("fail", [100, 103], [0, 3]),
        # Dropped before the list is cut, so that what is known fills it.
        ("drop", [7, 8, 9, 55, 55, 55, 55, 55, 55], [7, 8, 9]),
        ("drop", [55], []),
        (5, [100, 55], [0, 5]),
    ],
)
def test_values_are_looked_up_in_the_vocabulary(
    opened: Open, tower: Tower, unknown: str | int, sent: list[int], read: list[int]
) -> None:
    words = {"items_vocab.parquet": {103: 3, 7: 7, 100: 0, 8: 8, 9: 9}}
    schema = tower.schema(vocab="items_vocab.parquet", unknown=unknown)

    found = opened(tower.onnx(), schema, words=words).encode([user(sent)])[0]

    np.testing.assert_allclose(found, tower.vectors_of(read, 1.0), rtol=1e-4, atol=1e-5)


def test_a_vocabulary_of_texts(opened: Open, tower: Tower) -> None:
    schema = tower.schema(type="string", vocab="genres.parquet", unknown="fail")
    words = {"genres.parquet": {"drama": 3, "krimi": 1, "": 2, "日本": 4}}
    asked = [["drama", "日本"], [""], ["western"]]

    model_ = opened(tower.onnx(), schema, words=words)
    found = model_.encode([{"history": Feature("strings", each), "age": Feature("floats", [1.0])} for each in asked])

    np.testing.assert_allclose(found[0], tower.vectors_of([3, 4], 1.0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], tower.vectors_of([2], 1.0), rtol=1e-4, atol=1e-5)
    assert isinstance(found[2], FeatureInvalid)
    assert (found[2].feature, found[2].reason) == ("history", "FEATURE_VALUE_UNKNOWN")
    assert "western" in found[2].message


def test_whole_numbers_are_taken_where_a_float_is_asked_for(opened: Open, tower: Tower) -> None:
    """`{"age": 31}` is all that JSON and most languages have for 31.0."""
    whole = {"history": Feature("ints", [1, 2]), "age": Feature("ints", [31])}
    with_point = {**whole, "age": Feature("floats", [31.0])}
    found = opened(tower.onnx(), tower.schema()).encode([whole, with_point])
    np.testing.assert_allclose(found[0], tower.vectors_of([1, 2], 31.0), rtol=1e-4, atol=1e-5)
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize("kind", ["ints", "floats", "strings"])
def test_an_empty_list_is_of_no_type(opened: Open, tower: Tower, kind: Any) -> None:
    asked = {"history": Feature(kind, []), "age": Feature("floats", [1.0])}
    found = opened(tower.onnx(), tower.schema()).encode([asked])[0]
    np.testing.assert_allclose(found, tower.vectors_of([], 1.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "feature", "reason"),
    [
        ({"history": Feature("floats", [1.0])}, "history", "FEATURE_TYPE_WRONG"),
        ({"history": Feature("", [])}, "history", "FEATURE_TYPE_WRONG"),
        ({"history": Feature("ints", [1] * 6)}, "history", "FEATURE_TOO_LONG"),
        ({"history": Feature("ints", [1] * 10_001)}, "history", "FEATURE_TOO_LONG"),
        ({"age": Feature("floats", [])}, "age", "FEATURE_LENGTH_WRONG"),
        ({"age": Feature("floats", [1.0, 2.0])}, "age", "FEATURE_LENGTH_WRONG"),
        ({"age": Feature("ints", [])}, "age", "FEATURE_LENGTH_WRONG"),
        ({"age": Feature("strings", ["30"])}, "age", "FEATURE_TYPE_WRONG"),
        ({"age": Feature("floats", [float("inf")])}, "age", "FEATURE_NOT_FINITE"),
        ({"height": Feature("floats", [1.0])}, "height", "FEATURE_UNKNOWN"),
        ({"\x00" * 300: Feature("floats", [1.0])}, "\x00" * 300, "FEATURE_UNKNOWN"),
    ],
)
def test_what_does_not_fit_names_the_feature(
    opened: Open, tower: Tower, features: dict[str, Feature], feature: str, reason: str
) -> None:
    found = opened(tower.onnx(), tower.schema(truncate="fail")).encode([{**user([1]), **features}])[0]

    assert isinstance(found, FeatureInvalid)
    assert (found.feature, found.reason) == (feature, reason)
    assert len(found.message) < 300
    assert found.message.isprintable()


def test_a_whole_number_with_a_point_is_told_to_lose_it(opened: Open, tower: Tower) -> None:
    found = opened(tower.onnx(), tower.schema()).encode([{**user([1]), "history": Feature("floats", [31.0])}])[0]
    assert isinstance(found, FeatureInvalid)
    assert found.message.endswith("not `floats`; send whole numbers without a decimal point")


def every_type() -> tuple[bytes, dict[str, Any]]:
    """One vector [7] out of a small int, a flag, a text's length, a double: all that a schema can say."""
    nodes = [
        node("Cast", ["small"], "a", to=FLOAT),
        node("Cast", ["flags"], "b", to=FLOAT),
        node("Cast", ["words"], "c", to=FLOAT),
        node("Cast", ["big"], "d", to=FLOAT),
        node("Unsqueeze", ["a", "last"], "a_column"),
        node("Unsqueeze", ["d", "last"], "d_column"),
        node("Concat", ["a_column", "b", "c", "d_column"], "vectors", axis=1),
    ]
    inputs = [
        tensor("small", TensorProto.INT32, ["B"]),
        tensor("flags", TensorProto.BOOL, ["B", 3]),
        tensor("words", TensorProto.STRING, ["B", 2]),
        tensor("big", TensorProto.DOUBLE, ["B"]),
    ]
    payload = model(nodes, inputs, [tensor("vectors", FLOAT, ["B", 7])], {"last": np.array([-1], np.int64)})
    schema = [
        {"name": "small", "type": "int64"},
        {"name": "flags", "type": "bool", "max_length": 3, "pad": True},
        {"name": "words", "type": "string", "max_length": 2, "pad": "0.5"},
        {"name": "big", "type": "float32"},
    ]
    return payload, {"vectors": 1, "inputs": schema}


def test_every_type_of_input(opened: Open) -> None:
    features = {
        "small": Feature("ints", [-3]),
        "flags": Feature("ints", [0, 1]),
        "words": Feature("strings", ["2.5"]),
        "big": Feature("floats", [0.25]),
    }
    model_ = opened(*every_type(), dimension=7)
    found, too_big, no_flag = model_.encode(
        [features, {**features, "small": Feature("ints", [2**31])}, {**features, "flags": Feature("ints", [2])}]
    )

    np.testing.assert_array_equal(found, [[-3, 0, 1, 1, 2.5, 0.5, 0.25]])
    assert (too_big.feature, too_big.reason) == ("small", "FEATURE_VALUE_INVALID")
    assert (no_flag.feature, no_flag.reason) == ("flags", "FEATURE_VALUE_INVALID")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"inputs": [AGE]}, "needs an input history"),
        ({"inputs": [AGE, {"name": "user", "type": "int64"}]}, "has no input user"),
        ({"vectors": 2}, "[B, 2, 16]"),
        ({"history": {"type": "float32"}}, "takes int64 as history, and the schema has float32"),
        ({"history": {"max_length": 6}}, "takes history as [?, 5]; it must be [B, 6]"),
        ({"history": {"length_input": "seq_len"}}, "has no input seq_len; it needs an input history_length"),
        ({"dimension": 8}, "gives [?, 16]; the schema says [B, 8]"),
    ],
)
def test_a_model_of_another_shape_is_refused_in_words(
    opened: Open, tower: Tower, block: dict[str, Any], said: str
) -> None:
    schema = {
        **tower.schema(**block.get("history", {})),
        **{k: v for k, v in block.items() if k in ("vectors", "inputs")},
    }

    with pytest.raises(ModelRefused) as refused:
        opened(tower.onnx(), schema, dimension=block.get("dimension", 16))

    assert refused.value.reason == "drop.model_shape"
    assert said in refused.value.message


def test_a_model_without_an_axis_for_queries_is_refused(opened: Open) -> None:
    payload = model(
        [node("Identity", ["age"], "vectors")], [tensor("age", FLOAT, [16])], [tensor("vectors", FLOAT, [16])]
    )
    with pytest.raises(ModelRefused, match=r"B the queries|queries at once"):
        opened(payload, {"vectors": 1, "inputs": [AGE]})


def test_vectors_that_are_not_finite_are_the_query_s_own_error(opened: Open) -> None:
    nodes = [
        node("Reshape", ["age", "column"], "narrow"),
        node("Expand", ["narrow", "shape"], "wide"),
        node("Log", ["wide"], "vectors"),
    ]
    constants = {"column": np.array([-1, 1], np.int64), "shape": np.array([1, 16], np.int64)}
    payload = model(nodes, [tensor("age", FLOAT, ["B"])], [tensor("vectors", FLOAT, ["B", 16])], constants)

    good, bad = opened(payload, {"vectors": 1, "inputs": [AGE]}).encode(
        [{"age": Feature("floats", [1.0])}, {"age": Feature("floats", [-1.0])}]
    )

    np.testing.assert_array_equal(good, np.zeros((1, 16)))
    assert isinstance(bad, ModelFailed)
    assert bad.reason == "MODEL_NOT_FINITE"


def test_a_shape_that_depends_on_the_values_is_judged_for_each_query(opened: Open) -> None:
    """The output says nothing of its shape; with another age it is another one."""
    nodes = [
        node("Cast", ["age"], "size", to=INT64),
        node("ConstantOfShape", ["size"], "plain"),
        node("Unsqueeze", ["plain", "first"], "vectors"),
    ]
    payload = model(
        nodes, [tensor("age", FLOAT, [1])], [tensor("vectors", FLOAT, None)], {"first": np.array([0], np.int64)}
    )
    model_ = opened(payload, {"vectors": 1, "inputs": [AGE]})

    good, short, huge = model_.encode([{"age": Feature("floats", [size])} for size in (16.0, 3.0, 1e9)])

    assert good.shape == (1, 16)
    assert (short.reason, short.message.endswith("[1, 1, 16]")) == ("MODEL_SHAPE_WRONG", True)
    # The memory of a run is bounded.
    assert huge.reason == "MODEL_REFUSED"


def test_a_loop_that_never_ends_is_stopped_and_the_model_goes_on(opened: Open) -> None:
    model_ = opened(endless_loop(["B", 16]), {"vectors": 1, "inputs": [AGE]}, seconds_max=0.2)
    for _ in range(2):
        started = time.monotonic()
        found = model_.encode([{"age": Feature("floats", [1.0])}])[0]
        assert isinstance(found, ModelTooSlow)
        assert 0.15 < time.monotonic() - started < 2.0


def test_one_query_that_never_ends_does_not_take_the_others_along(opened: Open) -> None:
    """A loop of as many turns as its age says: only the last query's does not end."""
    model_ = opened(*looping_by_age(), seconds_max=0.3)
    asked = [{"age": Feature("floats", [age])} for age in (1.0, 2.0, 1e18)]

    first, second, endless = model_.encode(asked)

    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert isinstance(endless, ModelTooSlow)


def test_late_queries_are_left_out_between_runs(opened: Open, tower: Tower) -> None:
    found = opened(tower.onnx(), tower.schema(), batch_max=1).encode([user([1]), user([2])], lambda place: place == 1)
    assert isinstance(found[0], np.ndarray)
    assert found[1] is None


def looping_by_age() -> tuple[bytes, dict[str, Any]]:
    from onnx import helper

    body = helper.make_graph(
        [node("Identity", ["going"], "still_going"), node("Identity", ["state"], "next_state")],
        "body",
        [tensor("turn", INT64, []), tensor("going", TensorProto.BOOL, []), tensor("state", FLOAT, None)],
        [tensor("still_going", TensorProto.BOOL, []), tensor("next_state", FLOAT, None)],
    )
    nodes = [
        node("ReduceMax", ["age"], "most", keepdims=0),
        node("Cast", ["most"], "turns", to=INT64),
        helper.make_node("Loop", ["turns", "yes", "age"], ["looped"], body=body),
        node("Reshape", ["looped", "column"], "narrow"),
        node("Expand", ["narrow", "shape"], "vectors"),
    ]
    constants = {"yes": np.array(True), "column": np.array([-1, 1], np.int64), "shape": np.array([1, 16], np.int64)}
    payload = model(nodes, [tensor("age", FLOAT, ["B"])], [tensor("vectors", FLOAT, ["B", 16])], constants)
    return payload, {"vectors": 1, "inputs": [AGE]}


def test_great_numbers_are_vectors_though_their_squares_are_no_numbers(opened: Open) -> None:
    nodes = [node("Reshape", ["age", "column"], "narrow"), node("Expand", ["narrow", "shape"], "vectors")]
    constants = {"column": np.array([-1, 1], np.int64), "shape": np.array([1, 16], np.int64)}
    payload = model(nodes, [tensor("age", FLOAT, ["B"])], [tensor("vectors", FLOAT, ["B", 16])], constants)

    [found] = opened(payload, {"vectors": 1, "inputs": [AGE]}).encode([{"age": Feature("floats", [1e30])}])

    np.testing.assert_array_equal(found, np.full((1, 16), np.float32(1e30)))
