"""The block `schema.query_model`: what it may say, and what each fault in it is called."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.patch import merged_spec
from catalog.spec import parse_spec
from common.errors import InvalidArgument
from querymodel.spec import ModelSpec
from tests.factories import make_spec

HISTORY = {"name": "hist_item", "type": "int64", "max_length": 20}
LOOKED_UP = {**HISTORY, "vocab": "items_vocab.parquet"}
AGE = {"name": "age", "type": "int64"}


def with_inputs(*inputs: dict[str, Any], **model: Any) -> dict[str, Any]:
    block = {"inputs": list(inputs), **model}
    return make_spec(schema={"dimension": 4, "query_model": block})


def stored(*inputs: dict[str, Any], **model: Any) -> dict[str, Any]:
    found: dict[str, Any] = parse_spec(with_inputs(*inputs, **model)).stored()["schema"]["query_model"]
    return found


def test_what_is_left_out_has_its_default() -> None:
    assert stored(AGE) == {
        "vectors": 1,
        "inputs": [
            {
                **AGE, "max_length": None, "truncate": "keep_last", "length_input": None, "vocab": None,
                "unknown": "fail", "pad": None,
            }
        ],
    }  # fmt: skip


def test_the_contract_s_own_example_is_taken() -> None:
    contract = {**LOOKED_UP, "pad": 0, "truncate": "keep_last", "length_input": "seq_len", "unknown": "drop"}
    found = stored(contract, AGE, vectors=4)
    assert found["vectors"] == 4
    assert found["inputs"][0] == contract
    spec = ModelSpec.of({"dimension": 4, "query_model": found})
    assert spec is not None
    assert (spec.vocabularies, spec.inputs[0].unknown, spec.inputs[1].max_length) == (
        ("items_vocab.parquet",),
        "drop",
        None,
    )


@pytest.mark.parametrize(
    ("inputs", "field", "said"),
    [
        ([], "inputs", "at least one"),
        ([{"name": "age"}], "inputs[0].type", "required"),
        ([{"name": "age", "type": "float64"}], "inputs[0].type", "'float32'"),
        ([{"name": " ", "type": "int64"}], "inputs[0].name", "the name that it has in the model"),
        ([{**AGE, "max_length": 0}], "inputs[0].max_length", "greater than or equal to 1"),
        ([{**AGE, "max_length": 10_001}], "inputs[0].max_length", "less than or equal to 10000"),
        ([{**AGE, "length_input": "n"}], "inputs[0].length_input", "give max_length too"),
        ([{**AGE, "pad": 0}], "inputs[0].pad", "give max_length too"),
        ([{**HISTORY, "pad": "x"}], "inputs[0].pad", "what the model takes, int64"),
        ([{**HISTORY, "pad": True}], "inputs[0].pad", "what the model takes, int64"),
        ([{**HISTORY, "pad": [1]}], "inputs[0].pad", "what the model takes, int64"),
        ([{**HISTORY, "pad": 2**40}], "inputs[0].pad", "not beyond"),
        ([{**HISTORY, "type": "string", "pad": 0}], "inputs[0].pad", "what the model takes, string"),
        ([{**HISTORY, "type": "float32", "pad": float("nan")}], "inputs[0].pad", "what the model takes, float32"),
        ([{**LOOKED_UP, "type": "string", "pad": ""}], "inputs[0].pad", "what the model takes, int64"),
        ([{**HISTORY, "truncate": "middle"}], "inputs[0].truncate", "'keep_last'"),
        ([{**HISTORY, "unknown": "drop"}], "inputs[0].unknown", "give vocab too"),
        ([{**AGE, "vocab": "v.parquet", "unknown": "drop"}], "inputs[0].unknown", "Without its one value"),
        ([{**LOOKED_UP, "unknown": "skip"}], "inputs[0].unknown", "Must be fail, drop, or the index"),
        ([{**LOOKED_UP, "unknown": -1}], "inputs[0].unknown", "Must be fail, drop, or the index"),
        ([{**LOOKED_UP, "unknown": [1]}], "inputs[0].unknown", "Must be fail, drop, or the index"),
        ([{**HISTORY, "type": "bool", "vocab": "v.parquet"}], "inputs[0].vocab", "not of bool"),
        ([{**HISTORY, "vocab": "../v.parquet"}], "inputs[0].vocab", "inside the drop"),
        ([{**HISTORY, "vocab": "/v.parquet"}], "inputs[0].vocab", "inside the drop"),
        ([AGE, AGE], "inputs", "inputs[1] is the second one"),
        ([{**HISTORY, "length_input": "age"}, AGE], "inputs", "inputs[1] is the second one"),
        ([LOOKED_UP, {**LOOKED_UP, "name": "x", "type": "string"}], "inputs", "as another type"),
        ([{**AGE, "vocabulary": "v.parquet"}], "inputs[0].vocabulary", "did you mean vocab?"),
    ],
)
def test_each_fault_names_its_field(inputs: list[dict[str, Any]], field: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_spec(with_inputs(*inputs))
    found = {each["field"]: each["message"] for each in error.value.details}
    assert list(found) == [f"schema.query_model.{field}"]
    assert said in found[f"schema.query_model.{field}"]


@pytest.mark.parametrize(
    "good",
    [
        {**LOOKED_UP, "unknown": 1},
        {**LOOKED_UP, "type": "string", "unknown": "drop", "pad": 3},
        {**HISTORY, "type": "float32", "pad": -1.5},
        {**HISTORY, "type": "float32", "pad": 1},
        {**HISTORY, "type": "bool", "pad": True},
        {**HISTORY, "type": "string", "pad": "<pad>"},
        {**AGE, "vocab": "vocabularies/age.parquet"},
    ],
)
def test_what_fits_is_taken_and_read_as_it_is_meant(good: dict[str, Any]) -> None:
    spec = ModelSpec.of({"dimension": 4, "query_model": stored(good)})
    assert spec is not None
    for name, value in good.items():
        assert getattr(spec.inputs[0], name) == value


def test_a_patch_takes_the_model_away() -> None:
    before = parse_spec(with_inputs(AGE)).stored()
    after = merged_spec(before, {"schema": {"query_model": None}})
    assert parse_spec({"name": "movies", **after}).stored()["schema"]["query_model"] is None
