"""Between the public messages and the core's words: the gateway's edge towards callers."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from gateway import statuses
from gateway.errors import GatewayError, InternalError, InvalidRequest
from gateway.queries import Batch, ItemQuery, ItemsQuery, Query
from gateway.replica_client import Outcome
from gateway.routes import Route, RouteVersion
from gateway.strides import STRIDE_QUERIES, Strides
from gateway.wire import length_delimited_head
from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2

FLOAT32_BYTES = 4
RESULTS = recall_pb2.BatchRecallResponse.RESULTS_FIELD_NUMBER
RESPONSE = recall_pb2.BatchRecallResult.RESPONSE_FIELD_NUMBER
ERROR = recall_pb2.BatchRecallResult.ERROR_FIELD_NUMBER


def query_in(payload: bytes) -> Query:
    """Raises InvalidRequest when the bytes are no RecallRequest."""
    try:
        return _query(recall_pb2.RecallRequest.FromString(payload), payload)
    except DecodeError as error:
        raise _unreadable("RecallRequest") from error


def batch_in(payload: bytes) -> Strides[Batch]:
    """Raises InvalidRequest when the bytes are no BatchRecallRequest."""
    try:
        message = replica_pb2.BatchParts.FromString(payload)
        batch = Batch(message.service, [])
        for position, part in enumerate(message.requests):
            if position and not position % STRIDE_QUERIES:
                yield
            batch.queries.append(_query(recall_pb2.RecallRequest.FromString(part), part))
    except DecodeError as error:
        raise _unreadable("BatchRecallRequest") from error
    return batch


def items_in(payload: bytes) -> ItemsQuery:
    """Raises InvalidRequest when the bytes are no GetItemsRequest."""
    try:
        message = recall_pb2.GetItemsRequest.FromString(payload)
    except DecodeError as error:
        raise _unreadable("GetItemsRequest") from error
    ids = len(message.items.ids) + len(message.items.text_ids)
    return ItemsQuery(payload, message.service, ids, message.return_vectors)


def count_in(payload: bytes) -> str:
    """The service's name. Raises InvalidRequest when the bytes are no CountItemsRequest."""
    try:
        return recall_pb2.CountItemsRequest.FromString(payload).service
    except DecodeError as error:
        raise _unreadable("CountItemsRequest") from error


def info_in(payload: bytes) -> str:
    """The service's name. Raises InvalidRequest when the bytes are no GetServiceInfoRequest."""
    try:
        return recall_pb2.GetServiceInfoRequest.FromString(payload).service
    except DecodeError as error:
        raise _unreadable("GetServiceInfoRequest") from error


def batch_out(outcomes: Sequence[Outcome], request_id: str = "") -> Strides[bytes]:
    """A serialised BatchRecallResponse; finished responses are put in as they are, and faults of ours name the id."""
    parts: list[bytes] = []
    for position, outcome in enumerate(outcomes):
        if position and not position % STRIDE_QUERIES:
            yield
        number, payload = _result(outcome, request_id)
        head = length_delimited_head(number, len(payload))
        parts += (length_delimited_head(RESULTS, len(head) + len(payload)), head, payload)
    return b"".join(parts)


def count_out(version: RouteVersion) -> bytes:
    message = recall_pb2.CountItemsResponse(
        version=version.number, items=version.items, searchable_items=version.searchable_items
    )
    return message.SerializeToString()


def info_out(route: Route) -> bytes:
    live, *previous = route.versions
    message = recall_pb2.GetServiceInfoResponse(
        service=route.name,
        schema=_schema(live),
        live=_version_info(live),
        previous=_version_info(previous[0]) if previous else None,
        limits=recall_pb2.Limits(
            qps=route.limits.qps,
            concurrency=route.limits.concurrency,
            max_top_k=route.limits.max_top_k,
            max_ef=route.limits.max_ef,
            allow_exact=route.limits.allow_exact,
        ),
    )
    return message.SerializeToString()


def _query(request: recall_pb2.RecallRequest, payload: bytes) -> Query:
    query = Query(payload, request.service, request.top_k, [_values(vector) for vector in request.vectors.vectors])
    if request.HasField("items"):
        asked = request.items
        query.items = ItemQuery([item.weight for item in asked.items], asked.half_life_seconds, asked.min_coverage)
    if request.HasField("params"):
        query.ef = request.params.ef if request.params.HasField("ef") else None
        query.nprobe = request.params.nprobe if request.params.HasField("nprobe") else None
        query.exact = request.params.exact
    if request.HasField("exclude"):
        query.excluded = len(request.exclude.ids) + len(request.exclude.text_ids)
    if request.filter:
        query.filter_bytes = len(request.filter.encode())
    query.return_vectors = request.return_vectors
    query.return_attributes = tuple(request.return_attributes)
    query.require_version = request.require_version
    query.model_version = request.model_version
    return query


def _values(vector: recall_pb2.Vector) -> float:
    """How many float32 values the vector holds; a fraction when `packed` ends within one."""
    packed = vector.packed
    return len(packed) / FLOAT32_BYTES if packed else len(vector.values.values)


def _result(outcome: Outcome, request_id: str) -> tuple[int, bytes]:
    """The field of a BatchRecallResult, and what it holds."""
    if isinstance(outcome, bytes):
        return RESPONSE, outcome
    return ERROR, _error(outcome, request_id).SerializeToString()


def _error(error: GatewayError, request_id: str) -> recall_pb2.RecallError:
    message = statuses.message_of(error, request_id if isinstance(error, InternalError) else "")
    return recall_pb2.RecallError(code=statuses.code_of(error), reason=error.reason, message=message, field=error.field)


def _schema(version: RouteVersion) -> recall_pb2.Schema:
    schema = version.schema
    return recall_pb2.Schema(
        id_type=schema.id_type,
        dimension=schema.dimension,
        metric=schema.metric,
        normalize=schema.normalize,
        attributes=[recall_pb2.Attribute(name=item.name, type=item.type) for item in schema.attributes],
        query_model=recall_pb2.QueryModel.FromString(schema.query_model) if schema.query_model else None,
    )


def _version_info(version: RouteVersion) -> recall_pb2.VersionInfo:
    return recall_pb2.VersionInfo(version=version.number, model_version=version.model_version, items=version.items)


def _unreadable(message: str) -> InvalidRequest:
    return InvalidRequest("", "REQUEST_UNREADABLE", f"the bytes are not a {message}")
