"""Numbers of features that only together are too great, or are none."""

from __future__ import annotations

import pytest

from querymodel.errors import FeatureInvalid
from querymodel.features import InputReader
from querymodel.spec import Feature, ModelInput, ModelSpec

GREAT = 1e308


@pytest.fixture
def profile() -> ModelInput:
    schema = {
        "dimension": 2,
        "query_model": {"vectors": 1, "inputs": [{"name": "profile", "type": "float32", "max_length": 4}]},
    }
    spec = ModelSpec.of(schema)
    assert spec is not None
    return spec.inputs[0]


@pytest.mark.parametrize("values", [[GREAT, GREAT], [-GREAT, -GREAT, -GREAT], [1, 2.5], []])
def test_a_sum_that_is_too_great_refuses_no_number(profile: ModelInput, values: list[float]) -> None:
    assert InputReader(profile, None).read({"profile": Feature("floats", values)}) == values


@pytest.mark.parametrize(
    "values",
    [[float("inf"), float("-inf")], [GREAT, GREAT, float("-inf")], [1.0, float("nan")], [GREAT, GREAT, float("nan")]],
)
def test_a_number_that_is_none_is_found_whatever_the_sum(profile: ModelInput, values: list[float]) -> None:
    with pytest.raises(FeatureInvalid) as refused:
        InputReader(profile, None).read({"profile": Feature("floats", values)})
    assert (refused.value.feature, refused.value.reason) == ("profile", "FEATURE_NOT_FINITE")
