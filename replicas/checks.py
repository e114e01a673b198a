"""What a query must satisfy before it costs anything. Every refusal names the field."""

from __future__ import annotations

import math
from dataclasses import dataclass

from replicas.errors import InvalidQuery, NotServed
from replicas.item_checks import check_item_query
from replicas.queries import MergePolicy, Query, QueryKind
from replicas.schema import FLOAT32_BYTES, VersionSchema


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """The platform's ceilings; a service's own, lower limits are the gateway's to enforce."""

    top_k_max: int = 10_000
    ef_max: int = 10_000
    nprobe_max: int = 65_536
    vectors_max: int = 64
    query_items_max: int = 1_000
    exclude_ids_max: int = 10_000
    return_attributes_max: int = 64


def check_query(query: Query, schema: VersionSchema, limits: QueryLimits) -> None:
    """Raises InvalidQuery or NotServed at the first thing that is wrong."""
    _check_kind(query)
    _check_version(query, schema)
    _check_range("top_k", "TOP_K_OUT_OF_RANGE", query.top_k, limits.top_k_max)
    _check_effort(query, limits)
    if query.kind is QueryKind.ITEMS:
        check_item_query(query.items, schema, items_max=limits.query_items_max)
    elif query.kind is QueryKind.VECTORS:
        _check_vectors(query, schema, limits)
    if query.weights:
        _check_weights(query)
    if query.exclude_ids or query.exclude_text_ids:
        _check_exclude(query, schema, limits)
    if query.return_attributes:
        check_attribute_names(query.return_attributes, schema, limits)
    if query.min_token:
        raise InvalidQuery("min_token", "MIN_TOKEN_UNSUPPORTED", "this service takes no real-time writes")


def check_attribute_names(names: list[str], schema: VersionSchema, limits: QueryLimits) -> None:
    """Raises InvalidQuery unless each name is an attribute of the schema, named once."""
    if len(names) > limits.return_attributes_max:
        message = f"at most {limits.return_attributes_max} attributes may be returned"
        raise InvalidQuery("return_attributes", "TOO_MANY_ATTRIBUTES", message)
    for name in names:
        if name not in schema.attributes:
            raise InvalidQuery("return_attributes", "ATTRIBUTE_UNKNOWN", f"the schema has no attribute {name[:80]!r}")
    if len(set(names)) != len(names):
        raise InvalidQuery("return_attributes", "ATTRIBUTE_TWICE", "an attribute is named twice")


def check_id_type(field: str, *, has_ids: bool, has_text_ids: bool, schema: VersionSchema) -> None:
    """Raises InvalidQuery when ids of the other type than the schema's are given."""
    if has_text_ids and not schema.text_ids:
        raise InvalidQuery(f"{field}.text_ids", "ID_TYPE_WRONG", "the schema's id type is int64; use `ids`")
    if has_ids and schema.text_ids:
        raise InvalidQuery(f"{field}.ids", "ID_TYPE_WRONG", "the schema's id type is string; use `text_ids`")


def _check_kind(query: Query) -> None:
    if query.kind is QueryKind.NOTHING:
        message = "the request holds no query; set `vectors`, `items` or `features`"
        raise InvalidQuery(query.kind.value, "QUERY_MISSING", message)


def _check_version(query: Query, schema: VersionSchema) -> None:
    if query.require_version and query.require_version != schema.version:
        message = f"version {query.require_version} is required and version {schema.version} is loaded"
        raise NotServed("VERSION_NOT_LOADED", message, field="require_version")
    if query.model_version and query.model_version != schema.model_version:
        message = f"the vectors are of model {query.model_version[:80]!r} and the index of {schema.model_version!r}"
        raise NotServed("MODEL_VERSION_NOT_LOADED", message, field="model_version")


def _check_effort(query: Query, limits: QueryLimits) -> None:
    if query.ef is not None:
        _check_range("params.ef", "EF_OUT_OF_RANGE", query.ef, limits.ef_max)
    if query.nprobe is not None:
        _check_range("params.nprobe", "NPROBE_OUT_OF_RANGE", query.nprobe, limits.nprobe_max)


def _check_range(field: str, reason: str, value: int, value_max: int) -> None:
    if not 1 <= value <= value_max:
        raise InvalidQuery(field, reason, f"{field} is {value}; it must be 1 to {value_max}")


def _check_vectors(query: Query, schema: VersionSchema, limits: QueryLimits) -> None:
    if not 1 <= len(query.vectors) <= limits.vectors_max:
        message = f"{len(query.vectors)} query vectors; there must be 1 to {limits.vectors_max}"
        raise InvalidQuery("vectors", "VECTOR_COUNT_OUT_OF_RANGE", message)
    for number, raw in enumerate(query.vectors):
        if len(raw) != schema.vector_bytes:
            message = f"the vector has {len(raw) / FLOAT32_BYTES:g} values; the dimension is {schema.dimension}"
            raise InvalidQuery(f"vectors.vectors[{number}]", "DIMENSION_MISMATCH", message)


def _check_weights(query: Query) -> None:
    if len(query.weights) != len(query.vectors):
        message = f"{len(query.weights)} weights for {len(query.vectors)} vectors; give none, or one for each"
        raise InvalidQuery("vectors.weights", "WEIGHTS_COUNT_MISMATCH", message)
    for number, weight in enumerate(query.weights):
        if not math.isfinite(weight):
            raise InvalidQuery(f"vectors.weights[{number}]", "WEIGHT_NOT_FINITE", "a weight is NaN or infinite")
        if query.merge is not MergePolicy.WEIGHTED_SUM and weight <= 0:
            message = f"the weight is {weight:g}; it must be above 0, unless merge is WEIGHTED_SUM"
            raise InvalidQuery(f"vectors.weights[{number}]", "WEIGHT_NOT_POSITIVE", message)
    if not any(query.weights):
        # Every item would have the score 0, and the order would mean nothing.
        raise InvalidQuery("vectors.weights", "WEIGHTS_CANCEL", "the weights are all 0, which leaves nothing to ask by")


def _check_exclude(query: Query, schema: VersionSchema, limits: QueryLimits) -> None:
    check_id_type("exclude", has_ids=bool(query.exclude_ids), has_text_ids=bool(query.exclude_text_ids), schema=schema)
    count = len(query.exclude_ids) + len(query.exclude_text_ids)
    if count > limits.exclude_ids_max:
        message = f"{count} ids are excluded; at most {limits.exclude_ids_max} may be"
        raise InvalidQuery("exclude", "TOO_MANY_EXCLUDED", message)
