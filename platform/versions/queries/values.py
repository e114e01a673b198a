"""Which JSON values a scalar field of a message takes, as proto JSON has it, and how to say it to people."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

FLOAT32_MAX = float.fromhex("0x1.fffffep+127")
SHOWN_CHARACTERS_MAX = 80
INTEGER_RANGES: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
WORDS: Mapping[int, str] = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_FLOAT: "a number (float32)",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number (float64)",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_STRING: "a text",
}
# Both alphabets of base64; padding may be missing, as proto JSON allows.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
BASE64_GROUP_CHARACTERS = 4


def takes(field: FieldDescriptor, value: Any) -> bool:
    """Whether protobuf can put this JSON value, or this element of a list, into the field."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return is_bytes(value)
    if field.enum_type is not None:
        return _is_choice(value, list(field.enum_type.values_by_name))
    return _TAKES[field.cpp_type](value, field.cpp_type)


def is_bytes(value: Any) -> bool:
    if not isinstance(value, str) or not _BASE64.fullmatch(value):
        return False
    return len(value.rstrip("=")) % BASE64_GROUP_CHARACTERS != 1


def words_of(field: FieldDescriptor) -> str:
    """What the field takes."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return "bytes in base64"
    if field.enum_type is not None:
        return f"one of {', '.join(field.enum_type.values_by_name)}"
    return WORDS[field.cpp_type]


def shown(value: Any) -> str:
    """A value of JSON, fit for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS_MAX:
        value = value[:SHOWN_CHARACTERS_MAX] + "…"
    return json.dumps(value, ensure_ascii=False)[: 2 * SHOWN_CHARACTERS_MAX]


def _is_choice(value: Any, names: list[str]) -> bool:
    """A name, or any number: one that names nothing is the replica's to refuse, as over gRPC."""
    if isinstance(value, str):
        return value in names or isinstance(_number_of(value), int)
    return _is_whole(value, FieldDescriptor.CPPTYPE_INT32)


def _is_whole(value: Any, kind: int) -> bool:
    number = _number_of(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    least, most = INTEGER_RANGES[kind]
    return (isinstance(number, int) or number.is_integer()) and least <= number <= most


def _number_of(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _is_number(value: Any, kind: int) -> bool:
    if isinstance(value, str):
        # These are no numbers of JSON, and so are written as texts.
        return _number_of(value) is not None and value != "nan"
    if not isinstance(value, int | float):
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    if isinstance(value, float) and kind == FieldDescriptor.CPPTYPE_FLOAT:
        return abs(number) <= FLOAT32_MAX
    return math.isfinite(number)


def _is_bool(value: Any, _kind: int) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any, _kind: int) -> bool:
    return isinstance(value, str)


_TAKES: Mapping[int, Callable[[Any, int], bool]] = {
    **dict.fromkeys(INTEGER_RANGES, _is_whole),
    FieldDescriptor.CPPTYPE_FLOAT: _is_number,
    FieldDescriptor.CPPTYPE_DOUBLE: _is_number,
    FieldDescriptor.CPPTYPE_BOOL: _is_bool,
    FieldDescriptor.CPPTYPE_STRING: _is_text,
}
