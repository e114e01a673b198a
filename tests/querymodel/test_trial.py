"""What a trial finds out about a model, and the models that it refuses: they fail a build and never a request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from querymodel.errors import ModelRefused
from querymodel.spec import Feature, Features
from querymodel.trial import BATCH_MAX, Trial, made_up, try_out
from tests.querymodel.conftest import Open, user
from tests.support.query_models import FLOAT, Tower, endless_loop, model, node, tensor

AGE = {"vectors": 1, "inputs": [{"name": "age", "type": "float32"}]}
WIDEN = {"column": np.array([-1, 1], np.int64), "shape": np.array([1, 16], np.int64)}


def by_age(*nodes: Any, batch: str | int = "B", **constants: Any) -> bytes:
    """A model from `age` [B, 16] (the same number sixteen times) to `vectors`."""
    widened = [node("Reshape", ["age", "column"], "narrow"), node("Expand", ["narrow", "shape"], "wide")]
    outputs = [tensor("vectors", FLOAT, [batch, 16])]
    return model([*widened, *nodes], [tensor("age", FLOAT, [batch])], outputs, {**WIDEN, **constants})


def ages(*values: float) -> list[Features]:
    return [{"age": Feature("floats", [value])} for value in values]


def tried(model_: Any, recorded: list[Features], ms_max: float = 100.0) -> Trial:
    return try_out(model_, recorded, ms_max=ms_max, progress=lambda _done, _expected: None)


def refused(model_: Any, recorded: list[Features], ms_max: float = 100.0) -> ModelRefused:
    with pytest.raises(ModelRefused) as error:
        tried(model_, recorded, ms_max)
    return error.value


def test_a_good_model_is_timed_and_its_recorded_queries_are_computed(opened: Open) -> None:
    tower = Tower.of(1, vectors=2)
    recorded = [user([place % 50, 3], place / 10) for place in range(150)]

    found = tried(opened(tower.onnx(), tower.schema()), recorded)

    assert 0 < found.ms < 50
    assert 1 < found.batch_max <= BATCH_MAX
    assert found.good == recorded
    assert found.vectors.shape == (150, 2, 16)
    np.testing.assert_allclose(found.vectors[149], tower.vectors_of([49, 3], 14.9), rtol=1e-3, atol=1e-4)
    assert found.warnings == ()


def test_without_recorded_queries_it_is_tried_with_made_up_ones(opened: Open) -> None:
    tower = Tower.of(1, length=6)
    schema = tower.schema(vocab="v.parquet", unknown="fail")
    model_ = opened(tower.onnx(), schema, words={"v.parquet": {1000: 1, 2000: 2}})

    assert made_up(model_, full=True)["history"] == Feature("ints", [1000, 2000] * 3)
    found = tried(model_, [])
    assert found.good == []
    assert found.ms > 0


def test_bad_recorded_queries_are_left_out_and_told(opened: Open, tower: Tower) -> None:
    found = tried(opened(tower.onnx(), tower.schema()), [user([1]), user([77]), user([2]), user([99])])
    assert found.good == [user([1]), user([2])]
    assert "2 are left out" in found.warnings[0]


def test_when_no_query_can_be_computed_the_first_one_s_reason_is_told(opened: Open, tower: Tower) -> None:
    error = refused(opened(tower.onnx(), tower.schema()), [user([77]), user([99])])
    assert error.reason == "drop.model_shape"
    assert "No query could be computed" in error.message


def test_a_model_that_gives_no_numbers_is_refused(opened: Open) -> None:
    error = refused(opened(by_age(node("Log", ["wide"], "vectors")), AGE), ages(-1.0, -2.0))
    assert error.reason == "drop.model_not_finite"


def test_a_slow_model_is_refused_by_its_own_time(opened: Open) -> None:
    square = np.full((1_500, 1_500), 1e-6, np.float32)
    nodes = [node("MatMul", ["square", "square"], "product"), node("ReduceSum", ["product"], "sum", keepdims=0)]
    # The product must depend on the query, or the runtime computes it once when it loads the model.
    nodes = [node("ReduceMax", ["age"], "most", keepdims=0), node("Mul", ["square", "most"], "scaled"),
             node("MatMul", ["scaled", "square"], "product"), node("ReduceSum", ["product"], "sum", keepdims=0),
             node("Add", ["wide", "sum"], "vectors")]  # fmt: skip
    error = refused(opened(by_age(*nodes, square=square), AGE), ages(1.0, 2.0), ms_max=5.0)
    assert error.reason == "drop.model_too_slow"
    assert "ms for one query on one thread; 5 ms are allowed" in error.message


def test_a_loop_that_never_ends_is_refused(opened: Open) -> None:
    error = refused(opened(endless_loop(["B", 16]), AGE, seconds_max=0.3), ages(1.0))
    assert error.reason == "drop.model_too_slow"
    assert "was stopped" in error.message


def test_a_model_with_chance_in_it_is_refused(opened: Open) -> None:
    noise = helper.make_node("RandomNormalLike", ["wide"], ["noise"])
    error = refused(opened(by_age(noise, node("Add", ["wide", "noise"], "vectors")), AGE), ages(1.0))
    assert error.reason == "drop.model_unsteady"
    assert "model.eval()" in error.message


def test_a_model_that_mixes_its_queries_is_asked_one_by_one(opened: Open) -> None:
    """The mean over the first axis: a common slip that shows only under load."""
    nodes = [node("ReduceMean", ["wide"], "mean", axes=[0], keepdims=1), node("Sub", ["wide", "mean"], "vectors")]
    model_ = opened(by_age(*nodes), AGE)

    found = tried(model_, ages(1.0, 2.0, 3.0))

    assert found.batch_max == 1
    assert "depend on the other queries" in found.warnings[0]
    np.testing.assert_array_equal(found.vectors, np.zeros((3, 1, 16)))


def test_a_model_for_one_query_at_a_time_works_and_is_told(opened: Open) -> None:
    found = tried(opened(by_age(node("Identity", ["wide"], "vectors"), batch=1), AGE), ages(1.0, 2.0))
    assert found.batch_max == 1
    assert "one query at a time" in found.warnings[0]
    assert found.vectors[:, 0, 0].tolist() == [1.0, 2.0]


def test_a_model_that_cannot_do_without_a_history_is_told_of(opened: Open) -> None:
    nodes = [node("ReduceSum", ["lengths_wide", "one"], "n", keepdims=1), node("Div", ["lengths_wide", "n"], "vectors")]
    widened = [
        node("Reshape", ["n_history", "column"], "narrow"),
        node("Cast", ["narrow"], "narrow_floats", to=FLOAT),
        node("Expand", ["narrow_floats", "shape"], "lengths_wide"),
        node("Cast", ["history"], "unused", to=FLOAT),
    ]
    payload = model(
        [*widened, *nodes],
        [tensor("history", 7, ["B", 4]), tensor("n_history", 7, ["B"])],
        [tensor("vectors", FLOAT, ["B", 16])],
        {**WIDEN, "one": np.array([1], np.int64)},
    )
    block = {
        "vectors": 1,
        "inputs": [{"name": "history", "type": "int64", "max_length": 4, "length_input": "n_history"}],
    }

    found = tried(opened(payload, block), [])

    assert "Queries with empty lists will not be answered" in found.warnings[0]
