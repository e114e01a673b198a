"""What is wrong with the JSON of a query, in the field names that its caller wrote.

Protobuf's own parser says it in its own words and Python's, and often not where; so whatever it refuses is looked for
here, and what it would take in silence (a field that is written twice, base64 that is none) is refused before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from common.errors import InvalidArgument
from recallpb.v1 import recall_pb2
from versions.queries.values import is_bytes, shown, takes, words_of

log = logging.getLogger(__name__)

REASON = "MALFORMED_QUERY"
NAMES_SHOWN_MAX = 20
LIST_SHAPE = '{"values": [...]}'
# How a message is written, where "an object" would not tell.
SHAPES: Mapping[str, str] = {
    message.DESCRIPTOR.full_name: shape
    for message, shape in (
        (recall_pb2.VectorQuery, "a list of vectors, [[...]]"),
        (recall_pb2.Vector, "one of a list of vectors, [[...]]"),
        (recall_pb2.ItemQuery, '{"items": [{"id"|"text_id": ...}, ...]}'),
        (recall_pb2.WeightedItem, '{"id"|"text_id": ..., "weight": ...}'),
        (recall_pb2.ItemIds, '{"ids"|"text_ids": [...]}'),
        (recall_pb2.FeatureQuery, '{"features": {"...": ...}}'),
        (recall_pb2.Feature, f'{{"ints"|"floats"|"strings": {LIST_SHAPE}}}'),
        (recall_pb2.Int64List, LIST_SHAPE),
        (recall_pb2.FloatList, LIST_SHAPE),
        (recall_pb2.StringList, LIST_SHAPE),
    )
}
# Whole numbers are asked for where texts have a field of their own.
TEXT_TWINS: Mapping[str, str] = {"id": "text_id", "ids": "text_ids"}


def check_fields(request: Mapping[str, Any], message: Any) -> None:
    """Raises InvalidArgument at the first field that `message` lacks, is given twice or has another shape."""
    for field, value, path in _fields(request, message, ""):
        if field.type == FieldDescriptor.TYPE_BYTES and not is_bytes(value):
            raise _not_taken(field, value, path)


def check_values(request: Mapping[str, Any], message: Any) -> None:
    """Raises InvalidArgument at the first value that its field cannot take."""
    for field, value, path in _fields(request, message, ""):
        for each, where in _elements(field, value, path):
            if not takes(field, each):
                raise _not_taken(field, each, where)


def refusal(error: Exception) -> InvalidArgument:
    """Of a query that protobuf cannot read though nothing is wrong with any value by itself."""
    log.warning("Protobuf refused a query for a reason that is not known here: %s", error)
    return InvalidArgument("The query cannot be read.", reason=REASON)


def _fields(request: Mapping[str, Any], message: Any, above: str) -> Iterator[tuple[FieldDescriptor, Any, str]]:
    """Every field that is set and holds no message, with its path, through all messages. Raises InvalidArgument."""
    known = {name: field for field in message.fields for name in (field.name, field.json_name)}
    given: dict[str, str] = {}
    for name, value in request.items():
        path = f"{above}{name}"
        if name not in known:
            raise InvalidArgument(_unknown(str(name), path, message), reason=REASON, field=path)
        field = known[name]
        if value is None:
            continue
        _check_given_once(field, str(name), given, above)
        if field.message_type is None:
            yield field, value, path
            continue
        for each, where, kind in _messages(field, value, path):
            if not isinstance(each, Mapping):
                raise _refused(where, SHAPES.get(kind.full_name, "an object"), each)
            yield from _fields(each, kind, f"{where}.")


def _check_given_once(field: FieldDescriptor, name: str, given: dict[str, str], above: str) -> None:
    """`given` holds what was written so far, by field and by choice of fields. Raises InvalidArgument."""
    choice = field.containing_oneof
    for one in (field.name, choice.name) if choice else (field.name,):
        if one in given:
            message = f"{above}{given[one]} and {above}{name} are both given; give one of them."
            raise InvalidArgument(message, reason=REASON, field=f"{above}{name}")
        given[one] = name


def _messages(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[Any, str, Any]]:
    """What must be messages in `value`, each with its path and descriptor. Raises InvalidArgument."""
    kind: Any = field.message_type
    if kind.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            raise _refused(path, "an object", value)
        for key, each in value.items():
            yield each, f"{path}[{json.dumps(key, ensure_ascii=False)}]", kind.fields_by_name["value"].message_type
        return
    for each, where in _elements(field, value, path):
        yield each, where, kind


def _elements(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[Any, str]]:
    """The value, or each of its list, with its path. Raises InvalidArgument."""
    if not field.is_repeated:
        yield value, path
        return
    if not isinstance(value, list):
        raise _refused(path, "a list", value)
    for number, each in enumerate(value):
        yield each, f"{path}[{number}]"


def _not_taken(field: FieldDescriptor, value: Any, path: str) -> InvalidArgument:
    twin = TEXT_TWINS.get(field.name) if isinstance(value, str) else None
    return _refused(path, words_of(field), value, f" A text is sent as `{twin}`." if twin else "")


def _refused(path: str, shape: str, value: Any, hint: str = "") -> InvalidArgument:
    return InvalidArgument(f"{path} must be {shape}; it is {shown(value)}.{hint}", reason=REASON, field=path)


def _unknown(name: str, path: str, message: Any) -> str:
    # `service` is not among them: the URL names it.
    names = {field.name.replace("_", ""): field.name for field in message.fields if field.name != "service"}
    near = get_close_matches(name.replace("_", "").lower(), list(names), n=1)
    if near:
        return f"There is no field {path}; did you mean {names[near[0]]}?"
    verb = "is" if len(names) == 1 else "are"
    return f"There is no field {path}; there {verb} {', '.join(list(names.values())[:NAMES_SHOWN_MAX])}."
