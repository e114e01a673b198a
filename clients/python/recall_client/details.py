"""Reading google.rpc's error details from a call's trailing metadata.

The package that carries google.rpc's generated messages bounds protobuf from above, which would bind every service that
uses this client. The few fields that matter are declared here instead, in a descriptor pool of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STATUS_KEY = "grpc-status-details-bin"

_FIELD = descriptor_pb2.FieldDescriptorProto
# Message -> fields: (name, number, type or message name, repeated). Numbers are google.rpc's.
_MESSAGES: dict[str, tuple[tuple[str, int, Any, bool], ...]] = {
    "Any": (("type_url", 1, _FIELD.TYPE_STRING, False), ("value", 2, _FIELD.TYPE_BYTES, False)),
    "Status": (
        ("code", 1, _FIELD.TYPE_INT32, False),
        ("message", 2, _FIELD.TYPE_STRING, False),
        ("details", 3, "Any", True),
    ),
    # On the wire a map is a list of entries.
    "Entry": (("key", 1, _FIELD.TYPE_STRING, False), ("value", 2, _FIELD.TYPE_STRING, False)),
    "ErrorInfo": (("reason", 1, _FIELD.TYPE_STRING, False), ("metadata", 3, "Entry", True)),
    "FieldViolation": (("field", 1, _FIELD.TYPE_STRING, False), ("description", 2, _FIELD.TYPE_STRING, False)),
    "BadRequest": (("field_violations", 1, "FieldViolation", True),),
    "Duration": (("seconds", 1, _FIELD.TYPE_INT64, False), ("nanos", 2, _FIELD.TYPE_INT32, False)),
    "RetryInfo": (("retry_delay", 1, "Duration", False),),
}


@dataclass(frozen=True)
class Details:
    """What the server said beside code and message."""

    reason: str = ""
    field: str = ""
    request_id: str = ""
    retry_after_seconds: float | None = None


def read_details(trailing_metadata: Iterable[Any] | None) -> Details:
    """Details of a failed call; empty ones when the status came from the channel and not from the gateway."""
    found: dict[str, Any] = {}
    for key, value in trailing_metadata or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            found = _unpack(value)
    info, bad, retry = (found.get(name) for name in ("ErrorInfo", "BadRequest", "RetryInfo"))
    return Details(
        reason=info.reason if info else "",
        field=bad.field_violations[0].field if bad and bad.field_violations else "",
        request_id=next((entry.value for entry in info.metadata if entry.key == "request_id"), "") if info else "",
        retry_after_seconds=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry else None,
    )


def _unpack(packed: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for detail in _CLASSES["Status"].FromString(packed).details:
        name = detail.type_url.rpartition(".")[2]
        if name in _CLASSES:
            found[name] = _CLASSES[name].FromString(detail.value)
    return found


def _declare() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="recall_client/details.proto", package="recall_client", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            added = message.field.add(name=field, number=number)
            added.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".recall_client.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = {name: pool.FindMessageTypeByName(f"recall_client.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in classes.items()}


_CLASSES = _declare()
