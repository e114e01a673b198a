"""Whatever comes in: a spec or InvalidArgument, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.blocks import Block
from catalog.faults import FAULTS_MAX
from catalog.spec import ServiceSpec, parse_spec
from common.errors import InvalidArgument
from tests.factories import make_spec

EXAMPLES = 200

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def field_names(model: type[Block]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def blocks_like(model: type[Block]) -> st.SearchStrategy[Any]:
    """Known fields with any values, and now and then an unknown one."""
    keys = st.sampled_from([*field_names(model), "oops"])
    return st.dictionaries(keys, values, max_size=6) | values


MODELS = {field.alias or name: field.annotation for name, field in ServiceSpec.model_fields.items() if name != "name"}
near_specs = st.fixed_dictionaries({}, optional={key: blocks_like(model) for key, model in MODELS.items()})


def outcome(data: object) -> ServiceSpec | InvalidArgument:
    try:
        return parse_spec(data)
    except InvalidArgument as error:
        return error


def check(data: object) -> None:
    came = outcome(data)
    if isinstance(came, ServiceSpec):
        stored = json.loads(json.dumps(came.stored()))
        assert parse_spec({"name": "again", **stored}).stored() == came.stored()
        return
    assert came.reason == "INVALID_SPEC"
    assert len(came.details) <= FAULTS_MAX
    assert all(fault["field"] and fault["message"] for fault in came.details)
    # It travels as JSON in an answer, in UTF-8.
    assert json.dumps([came.message, came.details], ensure_ascii=False).encode()


@settings(max_examples=EXAMPLES, deadline=None)
@given(values)
def test_any_json_is_a_spec_or_an_invalid_argument(data):
    check(data)


@settings(max_examples=EXAMPLES, deadline=None)
@given(near_specs)
def test_anything_that_looks_like_a_spec_is_one_or_an_invalid_argument(data):
    check({**make_spec(), **data})


@pytest.mark.parametrize(
    "data",
    [
        {**make_spec(), "\ud800": 1},
        {**make_spec(), 5: 1, None: 2, (1, 2): 3},
        make_spec(guards={"\ud800": 1}),
        make_spec(schema={"dimension": 4, "a\nb" * 1_000: 1}),
        make_spec(schema={"dimension": 10**5_000}),
        make_spec(guards={"min_recall": 10**400}),
        make_spec(engine={"name": "\ud800"}),
        make_spec(engine={"name": "hnsw", "params": {"M": 10**5_000, "\ud800": 1}}),
        make_spec(search={"params": {"ef": float("inf")}}),
        make_spec(source={"uri": "\ud800"}),
        make_spec(source={"uri": "file:a/", "files": ["\ud800"]}),
        make_spec(source={"uri": "file:a/", "notice": {"a": [1]}}),
        make_spec("\0"),
    ],
)
def test_the_oddest_values_are_an_invalid_argument_too(data):
    with pytest.raises(InvalidArgument):
        parse_spec(data)
    check(data)


def test_a_deep_nest_is_an_invalid_argument_too():
    nest: Any = {}
    for _ in range(10_000):
        nest = {"a": nest}
    check(make_spec(schema=nest, engine={"name": "hnsw", "params": nest}))
