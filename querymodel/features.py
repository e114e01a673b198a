"""A query's features as the numbers of its model's inputs: checked, looked up, cut, filled up, stacked.

Each query is checked by itself, so that a bad one never touches another; only rows that are right are stacked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querymodel.errors import FeatureInvalid, shown_name
from querymodel.spec import KIND_OF, TEXT_BYTES_MAX, VALUES_MAX, Feature, Features, InputType, ModelInput, Value
from querymodel.vocabulary import Vocabulary

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
BOOLS = {0: False, 1: True}
KINDS = tuple(dict.fromkeys(KIND_OF.values()))

Tensor = NDArray[Any]
Check = Callable[[ModelInput, list[Any]], list[Any]]


class InputReader:
    """Reads one input's values out of features; `vocabulary` is there when the input has one."""

    def __init__(self, described: ModelInput, vocabulary: Vocabulary | None) -> None:
        self.described = described
        self._vocabulary = vocabulary
        self._check = _CHECKS[described.type]

    def read(self, features: Features) -> list[Value]:
        """Raises FeatureInvalid."""
        described = self.described
        feature = features.get(described.name)
        if feature is None:
            raise FeatureInvalid(described.name, "FEATURE_MISSING", f"the query model needs {self._shown}")
        values = self._check(described, self._typed(feature))
        if self._vocabulary is not None:
            values = self._numbers(self._vocabulary, values)
        return self._cut(values) if described.max_length is not None else values

    @property
    def _shown(self) -> str:
        return f"the feature {shown_name(self.described.name)}"

    def _typed(self, feature: Feature) -> list[Any]:
        described = self.described
        if feature.kind not in _kinds_taken(described, feature):
            given = f"not `{feature.kind}`" if feature.kind else "and nothing is set"
            message = f"{self._shown} is {described.type}, which is sent as `{described.kind}`, {given}"
            if described.kind == "ints" and feature.kind == "floats":
                message += "; send whole numbers without a decimal point"
            raise FeatureInvalid(described.name, "FEATURE_TYPE_WRONG", message)
        count = len(feature.values)
        if described.max_length is None and count != 1:
            raise FeatureInvalid(
                described.name, "FEATURE_LENGTH_WRONG", f"{self._shown} has one value; {count} were sent"
            )
        if count > VALUES_MAX:
            message = f"{self._shown} may have {VALUES_MAX} values; {count} were sent"
            raise FeatureInvalid(described.name, "FEATURE_TOO_LONG", message)
        return feature.values

    def _numbers(self, vocabulary: Vocabulary, values: list[Any]) -> list[Value]:
        described = self.described
        numbers: list[Value] = vocabulary.numbers_of(values).tolist()
        if -1 not in numbers:
            return numbers
        if described.unknown == "fail":
            stranger = shown_name(str(values[numbers.index(-1)]))
            message = f"the vocabulary of {self._shown} does not hold {stranger}"
            raise FeatureInvalid(described.name, "FEATURE_VALUE_UNKNOWN", message)
        if described.unknown == "drop":
            return [number for number in numbers if number != -1]
        return [described.unknown if number == -1 else number for number in numbers]

    def _cut(self, values: list[Value]) -> list[Value]:
        described = self.described
        length_max = described.max_length or 0
        if len(values) <= length_max:
            return values
        if described.truncate == "fail":
            message = f"{self._shown} may have {length_max} values; there are {len(values)}"
            raise FeatureInvalid(described.name, "FEATURE_TOO_LONG", message)
        return values[-length_max:] if described.truncate == "keep_last" else values[:length_max]


def check_names(features: Features, known: frozenset[str]) -> None:
    """Raises FeatureInvalid for a feature that the schema does not have: it would be left out in silence."""
    for name in features:
        if name not in known:
            message = f"the query model has no feature {shown_name(name)}"
            raise FeatureInvalid(name, "FEATURE_UNKNOWN", message)


def stack_values(described: ModelInput, rows: Sequence[list[Value]], dtype: np.dtype[Any], rank: int) -> Tensor:
    """The tensor of one input for some queries: [B, max_length], or [B] or [B, 1] by `rank` without a max_length."""
    if described.max_length is None:
        return np.array([row[0] for row in rows], dtype).reshape(len(rows), *[1] * (rank - 1))
    tensor = np.full((len(rows), described.max_length), described.pad, dtype)
    for place, row in enumerate(rows):
        tensor[place, : len(row)] = row
    return tensor


def stack_lengths(rows: Sequence[list[Value]], dtype: np.dtype[Any], rank: int) -> Tensor:
    """How many values each query has, without the padding: [B] or [B, 1]."""
    return np.array([len(row) for row in rows], dtype).reshape(len(rows), *[1] * (rank - 1))


def fits(values: list[Value], dtype: np.dtype[Any]) -> bool:
    """Whether whole numbers fit the model's own, which may be smaller than the schema's int64."""
    if dtype.kind != "i" or dtype.itemsize == np.dtype(np.int64).itemsize:
        return True
    limits = np.iinfo(dtype)
    return all(limits.min <= value <= limits.max for value in values if not isinstance(value, str))


def _kinds_taken(described: ModelInput, feature: Feature) -> tuple[str, ...]:
    """In JSON 31 is a whole number also where 31.5 could stand, and an empty list is of no type."""
    if not feature.values:
        return KINDS
    return (described.kind, "ints") if described.type == "float32" else (described.kind,)


def _integers(described: ModelInput, values: list[Any]) -> list[Any]:
    if values and not (min(values) >= INT64_MIN and max(values) <= INT64_MAX):
        raise _bad_value(described, "a whole number of more than 64 bits")
    return values


def _floats(described: ModelInput, values: list[Any]) -> list[Any]:
    # A finite sum is of finite numbers; where it overflows, each number is looked at.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        message = f"the feature {shown_name(described.name)} holds NaN or an infinite value"
        raise FeatureInvalid(described.name, "FEATURE_NOT_FINITE", message)
    return values


def _texts(described: ModelInput, values: list[Any]) -> list[Any]:
    for value in values:
        if len(value) > TEXT_BYTES_MAX or len(value.encode()) > TEXT_BYTES_MAX:
            raise _bad_value(described, f"a text of more than {TEXT_BYTES_MAX} bytes")
    return values


def _bools(described: ModelInput, values: list[Any]) -> list[Any]:
    for value in values:
        if value not in BOOLS:
            raise _bad_value(described, f"{value}; a bool is sent as 0 or 1")
    return [BOOLS[value] for value in values]


def _bad_value(described: ModelInput, what: str) -> FeatureInvalid:
    message = f"the feature {shown_name(described.name)} holds {what}"
    return FeatureInvalid(described.name, "FEATURE_VALUE_INVALID", message)


_CHECKS: Mapping[InputType, Check] = {"int64": _integers, "float32": _floats, "string": _texts, "bool": _bools}
