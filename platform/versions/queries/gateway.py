"""Asking the gateway for a person or a key that the control plane knows: plain dicts in, plain dicts out.

The dicts are the proto JSON of RecallRequest and RecallResponse with the proto's own field names; besides, a plain list
of numbers may stand for a vector. The wire's types, its channel and its statuses are known here and nowhere else above.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cache
from os import getpid
from typing import Any, TypeVar

import grpc
from django.conf import settings
from google.protobuf import json_format
from google.protobuf.message import Message

from catalog.models import Service
from common.errors import InvalidArgument
from recallpb.v1 import recall_pb2, recall_pb2_grpc
from tenants.permissions import Caller
from versions.queries import fields
from versions.queries.statuses import error_of
from versions.queries.tokens import internal_token

DEADLINE_MS_MAX = 5_000
# BatchRecall's largest answer fits; a single one is far smaller.
ANSWER_BYTES_MAX = 64 * 1024**2
RECONNECT_MS_FIRST = 100
RECONNECT_MS_MAX = 1_000
FLOAT_BYTES = 4

ReplyT = TypeVar("ReplyT")
MessageT = TypeVar("MessageT", bound=Message)


def recall(
    *, caller: Caller, service: Service, request: Mapping[str, Any], deadline_ms: int | None = None
) -> dict[str, Any]:
    """One query, one ranked list. The caller's permission to query was checked before.

    Raises InvalidArgument naming the field, FailedPrecondition, QuotaExceeded, Unavailable, DeadlineExceeded.
    """
    message = _parsed(recall_pb2.RecallRequest(), service, _with_plain_vectors(request))
    reply = _call(lambda stub, **options: stub.Recall(message, **options), caller, service, deadline_ms)
    return _to_dict(reply)


def batch_recall(*, caller: Caller, service: Service, request: Mapping[str, Any]) -> dict[str, Any]:
    """Up to 1,000 queries, a response or an error for each, in order: BatchRecallRequest to BatchRecallResponse.

    Raises what `recall` raises, of the batch as a whole.
    """
    queries = request.get("requests")
    if isinstance(queries, list):
        plain = [_with_plain_vectors(query) if isinstance(query, Mapping) else query for query in queries]
        request = {**request, "requests": plain}
    message = _parsed(recall_pb2.BatchRecallRequest(), service, request)
    return _to_dict(_call(lambda stub, **options: stub.BatchRecall(message, **options), caller, service))


def items_get(
    *, caller: Caller, service: Service, request: Mapping[str, Any], deadline_ms: int | None = None
) -> dict[str, Any]:
    """Vectors and attributes of items by id: GetItemsRequest to GetItemsResponse. Raises what `recall` raises."""
    message = _parsed(recall_pb2.GetItemsRequest(), service, request)
    return _to_dict(_call(lambda stub, **options: stub.GetItems(message, **options), caller, service, deadline_ms))


def count(*, caller: Caller, service: Service) -> dict[str, Any]:
    """How many items the live version holds. Raises what `recall` raises."""
    message = recall_pb2.CountItemsRequest(service=resource_name(service))
    return _to_dict(_call(lambda stub, **options: stub.CountItems(message, **options), caller, service))


def resource_name(service: Service) -> str:
    """The service as gRPC requests name it."""
    return f"tenants/{service.tenant.name}/services/{service.name}"


def _parsed(message: MessageT, service: Service, request: Mapping[str, Any]) -> MessageT:
    """`message` filled from proto JSON. Raises InvalidArgument."""
    name = resource_name(service)
    if request.get("service", name) != name:
        raise InvalidArgument("The service is named by the URL; leave it out here.", field="service")
    fields.check_fields(request, message.DESCRIPTOR)
    try:
        json_format.ParseDict(dict(request), message)
    # A whole number of hundreds of digits is an OverflowError there.
    except (json_format.ParseError, OverflowError) as error:
        fields.check_values(request, message.DESCRIPTOR)
        raise fields.refusal(error) from error
    except RecursionError as error:
        raise InvalidArgument("The query is nested too deeply.", reason=fields.REASON) from error
    message.service = name  # type: ignore[attr-defined]
    return message


def _with_plain_vectors(request: Mapping[str, Any]) -> dict[str, Any]:
    """`vectors: [[...]]` and `vectors: {vectors: [[...]]}` become the proto's long form."""
    query = request.get("vectors")
    if isinstance(query, list):
        query = {"vectors": query}
    if not isinstance(query, Mapping) or not isinstance(query.get("vectors"), list):
        return dict(request)
    vectors = [_long_form(vector) for vector in query["vectors"]]
    return {**request, "vectors": {**query, "vectors": vectors}}


def _long_form(vector: Any) -> Any:
    if isinstance(vector, list):
        return {"values": {"values": vector}}
    if isinstance(vector, Mapping) and isinstance(vector.get("values"), list):
        return {**vector, "values": {"values": vector["values"]}}
    return vector


def _call(send: Callable[..., ReplyT], caller: Caller, service: Service, deadline_ms: int | None = None) -> ReplyT:
    token = internal_token(tenant=service.tenant.name, service=service.name, by=caller.actor.name)
    metadata = [("authorization", f"Bearer {token}")]
    try:
        return send(
            _stub(getpid(), settings.GATEWAY_ADDRESS),
            metadata=metadata,
            timeout=(deadline_ms or DEADLINE_MS_MAX) / 1_000,
        )
    except grpc.RpcError as error:
        raise error_of(error) from error


@cache
def _stub(_pid: int, address: str) -> recall_pb2_grpc.RecallServiceStub:
    """One channel for each process; a forked worker makes its own."""
    options = [
        ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
        # A gateway that comes back is found again at once, not after gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS_FIRST),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
    ]
    channel = grpc.insecure_channel(address, options)
    return recall_pb2_grpc.RecallServiceStub(channel)  # type: ignore[no-untyped-call]


def _to_dict(reply: Message) -> dict[str, Any]:
    """Every field that can be absent only by being empty is there, so that an answer has one shape."""
    answers: list[Any] = [reply]
    if isinstance(reply, recall_pb2.BatchRecallResponse):
        answers = [result.response for result in reply.results]
    for answer in answers:
        for vector in getattr(answer, "vectors", ()):
            _unpack(vector)
    return json_format.MessageToDict(reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _unpack(vector: recall_pb2.Vector) -> None:
    """Packed float32 becomes a list of numbers, which people and browsers can read."""
    if vector.WhichOneof("data") == "packed":
        numbers = struct.unpack(f"<{len(vector.packed) // FLOAT_BYTES}f", vector.packed)
        vector.values.values.extend(numbers)
