"""Hypothesis strategies for any message, read off its descriptor, so that fields that are added are fuzzed unasked.

A field for which there is a hint (by full name) mostly holds what it might sensibly hold, so that requests get past the
first check; else it holds anything that its type can: the ends of number ranges, NaN, unknown enum values, odd text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]
Hints = Mapping[str, Strategy]

LIST_SIZE_MAX = 5
# So many times is a hint followed for one time that it is not.
HINTS_PER_ANYTHING = 9
INT32, INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def _whole_numbers(low: int, high: int) -> Strategy:
    return st.sampled_from([0, 1, -1, 2, low, high]) | st.integers(low, high)


ANY_VALUE: dict[int, Strategy] = {
    FieldDescriptor.TYPE_INT32: _whole_numbers(*INT32),
    FieldDescriptor.TYPE_INT64: _whole_numbers(*INT64),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32) | st.sampled_from([0.0, -0.0, 3.4e38, 1e-45, float("nan")]),
    FieldDescriptor.TYPE_DOUBLE: st.floats() | st.sampled_from([0.0, 1.8e308, 5e-324, float("inf"), float("nan")]),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: ANY_TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=80),
    # Of an open enum any int32 may arrive.
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 4) | _whole_numbers(*INT32),
}


def messages(descriptor: Descriptor, hints: Hints) -> Strategy:
    """Messages of the type; of the members of a oneof at most one is set, single fields with a hint always are."""
    fields = {field.name: field for field in descriptor.fields if field.containing_oneof is None}
    always = {name for name, field in fields.items() if field.full_name in hints and not field.is_repeated}
    given = {name: _field(field, hints) for name, field in fields.items()}
    required = {name: given.pop(name) for name in always}
    oneofs = [_member(oneof, hints) for oneof in descriptor.oneofs]
    kind = GetMessageClass(descriptor)
    parts = [st.fixed_dictionaries(required, optional=given), *oneofs]
    return st.tuples(*parts).map(lambda found: kind(**{name: value for part in found for name, value in part.items()}))


def _member(oneof: Any, hints: Hints) -> Strategy:
    """No member, or one; a oneof with a hint is always set."""
    chosen = [_field(field, hints).map(lambda value, name=field.name: {name: value}) for field in oneof.fields]
    return st.one_of(*chosen) if oneof.full_name in hints else st.one_of(st.just({}), *chosen)


def _field(field: FieldDescriptor, hints: Hints) -> Strategy:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        keys, values = (_value(entry[name], hints) for name in ("key", "value"))
        return hints.get(field.full_name, st.dictionaries(keys, values, max_size=LIST_SIZE_MAX))
    value = _value(field, hints)
    return st.lists(value, max_size=LIST_SIZE_MAX) if field.is_repeated else value


def _value(field: FieldDescriptor, hints: Hints) -> Strategy:
    """What the field might sensibly hold, or anything."""
    anything = messages(field.message_type, hints) if field.message_type is not None else ANY_VALUE[field.type]
    hint = hints.get(field.full_name)
    if hint is None:
        return anything
    # Not one_of, which takes equal strategies for one.
    return st.sampled_from([*[hint] * HINTS_PER_ANYTHING, anything]).flatmap(lambda chosen: chosen)
