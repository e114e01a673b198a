"""The proto JSON of queries and answers as JSON Schema, read off the proto itself, so that the two cannot differ."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from recallpb.v1 import recall_pb2

Schema = dict[str, Any]

# Proto JSON writes 64-bit integers as strings and reads both.
WIDE_IN: Schema = {"type": ["integer", "string"], "format": "int64"}
WIDE_OUT: Schema = {"type": "string", "format": "int64"}
WIDE_KINDS = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
SIMPLE_KINDS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
PLAIN_VECTOR: Schema = {"type": "array", "items": {"type": "number"}, "description": "The vector's numbers."}


def recall_request() -> Schema:
    """A query. `service` is left out: the URL names it. A plain list of numbers may stand for a vector."""
    schema = _message(recall_pb2.RecallRequest.DESCRIPTOR, WIDE_IN)
    del schema["properties"]["service"]
    long_form = schema["properties"]["vectors"]
    vectors = long_form["properties"]["vectors"]
    vectors["items"] = {"anyOf": [PLAIN_VECTOR, vectors["items"]]}
    schema["properties"]["vectors"] = {"anyOf": [{"type": "array", "items": PLAIN_VECTOR}, long_form]}
    return schema


def recall_response() -> Schema:
    return _message(recall_pb2.RecallResponse.DESCRIPTOR, WIDE_OUT)


def batch_recall_request() -> Schema:
    """Queries of one service, which the URL names."""
    requests = {"type": "array", "items": recall_request()}
    return {"type": "object", "properties": {"requests": requests}, "additionalProperties": False}


def batch_recall_response() -> Schema:
    return _message(recall_pb2.BatchRecallResponse.DESCRIPTOR, WIDE_OUT)


def count_response() -> Schema:
    return _message(recall_pb2.CountItemsResponse.DESCRIPTOR, WIDE_OUT)


def _message(message: Any, wide: Schema) -> Schema:
    properties = {field.name: _field(field, wide) for field in message.fields}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _field(field: FieldDescriptor, wide: Schema) -> Schema:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _value(field.message_type.fields_by_name["value"], wide)}
    value = _value(field, wide)
    return {"type": "array", "items": value} if field.is_repeated else value


def _value(field: FieldDescriptor, wide: Schema) -> Schema:
    if field.message_type is not None:
        return _message(field.message_type, wide)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return dict(wide if field.cpp_type in WIDE_KINDS else SIMPLE_KINDS[field.cpp_type])
