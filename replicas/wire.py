"""Protobuf to our words and back: the only module here, beside the agent's, that knows both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import structlog
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from querymodel.spec import Feature
from recallpb.v1 import recall_pb2
from replicas.errors import (
    AnswerTooLarge,
    DeadlinePassed,
    EngineAway,
    InternalError,
    InvalidQuery,
    ModelStopped,
    NotServed,
    QuestionTooLarge,
    ReplicaError,
    ReplyFull,
)
from replicas.items import Items
from replicas.loaded import LoadedVersion
from replicas.queries import (
    NO_ITEMS,
    Answer,
    Column,
    Coverage,
    Floats,
    ItemQuery,
    MergePolicy,
    OnMissing,
    Query,
    QueryKind,
    Timing,
    WeightedItem,
)
from replicas.schema import FLOAT32_BYTES

log = structlog.get_logger()

ERROR_DOMAIN = "recall"

# The one table from our errors to codes; the first match counts.
CODES: tuple[tuple[type[ReplicaError], grpc.StatusCode], ...] = (
    (InvalidQuery, grpc.StatusCode.INVALID_ARGUMENT),
    (NotServed, grpc.StatusCode.FAILED_PRECONDITION),
    (DeadlinePassed, grpc.StatusCode.DEADLINE_EXCEEDED),
    (ModelStopped, grpc.StatusCode.DEADLINE_EXCEEDED),
    (AnswerTooLarge, grpc.StatusCode.INVALID_ARGUMENT),
    (ReplyFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (QuestionTooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (EngineAway, grpc.StatusCode.UNAVAILABLE),
    (InternalError, grpc.StatusCode.INTERNAL),
)
KINDS = {
    "vectors": QueryKind.VECTORS,
    "items": QueryKind.ITEMS,
    "features": QueryKind.FEATURES,
    None: QueryKind.NOTHING,
}
POLICIES: dict[int, MergePolicy] = {
    recall_pb2.MAX: MergePolicy.MAX,
    recall_pb2.WEIGHTED_SUM: MergePolicy.WEIGHTED_SUM,
    recall_pb2.ROUND_ROBIN: MergePolicy.ROUND_ROBIN,
}
ON_MISSING: dict[int, OnMissing] = {
    recall_pb2.SKIP: OnMissing.SKIP,
    recall_pb2.FAIL: OnMissing.FAIL,
    recall_pb2.MIN_COVERAGE: OnMissing.MIN_COVERAGE,
}
LENGTH_DELIMITED = 2
SCORES_TAG = bytes([recall_pb2.RecallResponse.SCORES_FIELD_NUMBER << 3 | LENGTH_DELIMITED])
VECTORS_TAG = bytes([recall_pb2.RecallResponse.VECTORS_FIELD_NUMBER << 3 | LENGTH_DELIMITED])
PACKED_TAG = bytes([recall_pb2.Vector.PACKED_FIELD_NUMBER << 3 | LENGTH_DELIMITED])


def status_code(error: ReplicaError) -> grpc.StatusCode:
    return next((code for kind, code in CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def error_message(error: ReplicaError) -> recall_pb2.RecallError:
    code = code_pb2.Code.Value(status_code(error).name)
    return recall_pb2.RecallError(code=code, reason=error.reason, message=error.message, field=error.field)


def status_message(error: ReplicaError) -> status_pb2.Status:
    """The same for a whole call, with reason and field as details."""
    status = status_pb2.Status(code=code_pb2.Code.Value(status_code(error).name), message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return status


def read_query(raw: bytes, *, arrived: float, deadline_ms: int, queued_us: int) -> Query:
    """The query in a serialised RecallRequest. Raises InvalidQuery when the bytes are none."""
    try:
        request = recall_pb2.RecallRequest.FromString(raw)
    except DecodeError as error:
        raise InvalidQuery("", "REQUEST_UNREADABLE", "the request is not a RecallRequest") from error
    query = Query(
        kind=KINDS[request.WhichOneof("query")],
        vectors=[_vector_bytes(vector) for vector in request.vectors.vectors],
        weights=list(request.vectors.weights),
        top_k=request.top_k,
        merge=_policy(request.merge),
        items=_item_query(request.items) if request.HasField("items") else NO_ITEMS,
        return_attributes=list(request.return_attributes),
        return_vectors=request.return_vectors,
        require_version=request.require_version,
        model_version=request.model_version,
        filter=request.filter,
        min_token=request.min_token,
        trace=request.trace,
        arrived=arrived,
        deadline_ms=deadline_ms,
        queued_us=queued_us,
    )
    if request.HasField("exclude"):
        query.exclude_ids = list(request.exclude.ids)
        query.exclude_text_ids = list(request.exclude.text_ids)
    if request.HasField("params"):
        _read_params(request.params, query)
    if request.HasField("features"):
        query.features = {name: _feature(each) for name, each in request.features.features.items()}
    return query


def _feature(feature: recall_pb2.Feature) -> Feature:
    kind = feature.WhichOneof("value")
    return Feature(kind, list(getattr(feature, kind).values)) if kind else Feature("", [])


def _vector_bytes(vector: recall_pb2.Vector) -> bytes:
    if vector.HasField("values"):
        return np.array(vector.values.values, dtype="<f4").tobytes()
    return vector.packed


def _item_query(message: recall_pb2.ItemQuery) -> ItemQuery:
    on_missing = ON_MISSING.get(message.on_missing)
    if on_missing is None:
        text = f"{message.on_missing} is no way to treat ids; there are {_choices(recall_pb2.OnMissing.DESCRIPTOR)}"
        raise InvalidQuery("items.on_missing", "ON_MISSING_UNKNOWN", text)
    return ItemQuery(
        items=tuple(map(_weighted_item, message.items)),
        half_life_seconds=message.half_life_seconds,
        on_missing=on_missing,
        min_coverage=message.min_coverage,
        keep_query_items=message.keep_query_items,
    )


def _weighted_item(item: recall_pb2.WeightedItem) -> WeightedItem:
    key = item.WhichOneof("key")
    return WeightedItem(
        key=getattr(item, key) if key else None,
        weight=item.weight if item.HasField("weight") else 1.0,
        timestamp_seconds=item.timestamp_seconds if item.HasField("timestamp_seconds") else None,
    )


def _policy(number: int) -> MergePolicy:
    policy = POLICIES.get(number)
    if policy is None:
        text = f"{number} is no merge policy; there are {_choices(recall_pb2.Merge.DESCRIPTOR)}"
        raise InvalidQuery("merge", "MERGE_UNKNOWN", text)
    return policy


def _choices(enum: EnumDescriptor) -> str:
    return ", ".join(f"{value.name} ({value.number})" for value in enum.values)


def _read_params(params: recall_pb2.SearchParams, query: Query) -> None:
    query.ef = params.ef if params.HasField("ef") else None
    query.nprobe = params.nprobe if params.HasField("nprobe") else None
    query.exact = params.exact


class ResponseWriter:
    """Writes answers of one version as serialised RecallResponses.

    Concatenated messages merge, so what every answer of the version says alike is serialised once, and scores and
    vectors are copied as the packed float32 they already are: only the ids of an answer pass through protobuf.
    """

    def __init__(self, loaded: LoadedVersion, replica_id: str) -> None:
        self._loaded = loaded
        self._text_ids = loaded.schema.text_ids
        self._always: bytes = recall_pb2.RecallResponse(
            version=loaded.schema.version, replica=replica_id, model_version=loaded.schema.model_version
        ).SerializeToString()

    def write(self, answers: Sequence[Answer]) -> list[bytes | InternalError]:
        """One serialised response for each answer; one that cannot be written is its own error."""
        if not answers:
            return []
        rows = [answer.rows for answer in answers]
        ids = self._loaded.ids_of(rows[0] if len(rows) == 1 else np.concatenate(rows))
        written: list[bytes | InternalError] = []
        first = 0
        for answer in answers:
            last = first + answer.rows.size
            try:
                written.append(self._write_one(answer, ids[first:last]))
            except Exception:
                log.exception("answer_not_written")
                written.append(InternalError())
            first = last
        return written

    def _write_one(self, answer: Answer, ids: list[Any]) -> bytes:
        response = recall_pb2.RecallResponse(shortfall=answer.shortfall)
        (response.text_ids if self._text_ids else response.ids).extend(ids)
        if answer.found_by is not None:
            response.found_by.extend(answer.found_by.tolist())
        if answer.columns:
            response.attributes.extend(map(_column_message, answer.columns))
        if answer.coverage is not None:
            response.coverage.CopyFrom(self._coverage_message(answer.coverage))
        if answer.timing is not None:
            response.timings.CopyFrom(_timing_message(answer.timing))
        scores = answer.scores.astype("<f4", copy=False).tobytes()
        vectors = b"" if answer.vectors is None else _packed_vectors(answer.vectors)
        return b"".join((response.SerializeToString(), SCORES_TAG, _varint(len(scores)), scores, vectors, self._always))

    def _coverage_message(self, coverage: Coverage) -> recall_pb2.ItemCoverage:
        ids = "text_ids" if self._text_ids else "ids"
        return recall_pb2.ItemCoverage(
            used=recall_pb2.ItemIds(**{ids: coverage.used}),
            missing=recall_pb2.ItemIds(**{ids: coverage.missing}),
            weight_covered=coverage.weight_covered,
        )


def items_message(items: Items, loaded: LoadedVersion) -> recall_pb2.GetItemsResponse:
    response = recall_pb2.GetItemsResponse(version=loaded.schema.version)
    text_ids = loaded.schema.text_ids
    (response.text_ids if text_ids else response.ids).extend(items.ids)
    (response.missing.text_ids if text_ids else response.missing.ids).extend(items.missing)
    response.attributes.extend(map(_column_message, items.columns))
    if items.vectors is not None:
        response.vectors.extend(_vector_messages(items.vectors))
    return response


def _varint(number: int) -> bytes:
    """A length as protobuf writes it: seven bits a byte, least first, the top bit says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _packed_vectors(vectors: Floats) -> bytes:
    """The `vectors` field: all entries have one length, so each is the same head before its own floats."""
    raw = np.ascontiguousarray(vectors, dtype="<f4").view(np.uint8)
    head = PACKED_TAG + _varint(raw.shape[1])
    head = VECTORS_TAG + _varint(len(head) + raw.shape[1]) + head
    entries = np.empty((len(raw), len(head) + raw.shape[1]), dtype=np.uint8)
    entries[:, : len(head)] = np.frombuffer(head, dtype=np.uint8)
    entries[:, len(head) :] = raw
    return entries.tobytes()


def _vector_messages(vectors: Floats) -> list[recall_pb2.Vector]:
    raw = vectors.astype("<f4", copy=False).tobytes()
    size = FLOAT32_BYTES * vectors.shape[1]
    return [recall_pb2.Vector(packed=raw[start : start + size]) for start in range(0, len(raw), size)]


def _timing_message(timing: Timing) -> recall_pb2.Timings:
    return recall_pb2.Timings(
        queue_us=timing.queue_us,
        model_us=timing.model_us,
        search_us=timing.search_us,
        merge_us=timing.merge_us,
        total_us=timing.total_us,
    )


def _column_message(column: Column) -> recall_pb2.AttributeColumn:
    message = recall_pb2.AttributeColumn(name=column.name, present=column.present)
    match column.type:
        case "string":
            message.strings.values.extend(column.values)
        case "int64":
            message.ints.values.extend(column.values)
        case "float64":
            message.doubles.values.extend(column.values)
        case "bool":
            message.bools.values.extend(column.values)
        case "list<string>":
            message.string_lists.values.extend(recall_pb2.StringList(values=value) for value in column.values)
        case unknown:
            raise ValueError(f"attribute {column.name} has the unknown type {unknown}")
    return message
