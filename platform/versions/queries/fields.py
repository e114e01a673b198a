"""What is wrong with the JSON of a query, in the field names that its caller wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseError

from common.errors import InvalidArgument

REASON = "MALFORMED_QUERY"
NAMES_SHOWN_MAX = 20
# What protobuf's texts say around the fault: the way down to it, and where it is.
_ON_THE_WAY = re.compile(r"Failed to parse (\w+) field: ")
_ENUM = re.compile(r" for enum type [\w.]+")
# Python's own words.
_NO_WHOLE_NUMBER = re.compile(r"invalid literal for int\(\) with base 10: (.*)")
_NO_NUMBER = re.compile(r"could not convert string to float: (.*)")
_PLACE = re.compile(r" at \w+\.([\w.\[\]]+?)\.*$")


def check_fields(request: Mapping[str, Any], message: Any, above: str = "") -> None:
    """Raises InvalidArgument at the first field that `message` lacks, or that is no object or list where it must be."""
    known = {name: field for field in message.fields for name in (field.name, field.json_name)}
    for name, value in request.items():
        path = f"{above}{name}"
        if name not in known:
            raise InvalidArgument(_unknown(str(name), path, message), reason=REASON, field=path)
        field = known[name]
        if value is None or field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each, where in _values(field, value, path):
            if not isinstance(each, Mapping):
                raise InvalidArgument(f"{where} must be an object.", reason=REASON, field=where)
            check_fields(each, field.message_type, f"{where}.")


def refusal(error: ParseError) -> InvalidArgument:
    """Of a value that its field cannot take."""
    text = str(error)
    place = _PLACE.search(text)
    field = place[1] if place else ".".join(_ON_THE_WAY.findall(text))
    said = _ENUM.sub("", _PLACE.sub("", _ON_THE_WAY.sub("", text))).rstrip(".")
    said = _NO_WHOLE_NUMBER.sub(r"\1 is no whole number", _NO_NUMBER.sub(r"\1 is no number", said))
    return InvalidArgument(f"{field}: {said}." if field else f"{said}.", reason=REASON, field=field)


def _values(field: FieldDescriptor, value: Any, path: str) -> list[tuple[Any, str]]:
    """The messages in `value`, each with its path."""
    if not field.is_repeated:
        return [(value, path)]
    if not isinstance(value, list):
        raise InvalidArgument(f"{path} must be a list.", reason=REASON, field=path)
    return [(each, f"{path}[{number}]") for number, each in enumerate(value)]


def _unknown(name: str, path: str, message: Any) -> str:
    # `service` is not among them: the URL names it.
    names = {field.name.replace("_", ""): field.name for field in message.fields if field.name != "service"}
    near = get_close_matches(name.replace("_", "").lower(), list(names), n=1)
    if near:
        return f"There is no field {path}; did you mean {names[near[0]]}?"
    return f"There is no field {path}; there are {', '.join(list(names.values())[:NAMES_SHOWN_MAX])}."
