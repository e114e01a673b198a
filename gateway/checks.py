"""What the service's limits and schema say of a request, before it costs anything. Each refusal names the field.

The replica checks the rest (finite values, weights, ids of the right type, attributes, filters): it knows the version.
What both can see, both refuse in the same words.
"""

from __future__ import annotations

import math
import re

from gateway.errors import InvalidRequest
from gateway.lanes import cells_within
from gateway.queries import Batch, ItemQuery, ItemsQuery, Query
from gateway.routes import Limits, RouteVersion, Schema

NAME = "[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
SERVICE_NAME = re.compile(f"tenants/{NAME}/services/{NAME}")

BATCH_QUERIES_MAX = 1_000
# Queries x top_k of one batch, so that the answer fits what clients receive.
BATCH_RESULTS_MAX = 200_000
EXCLUDED_IDS_MAX = 10_000
FILTER_BYTES_MAX = 8_192
GET_ITEMS_IDS_MAX = 1_000
QUERY_VECTORS_MAX = 64
RETURNED_ATTRIBUTES_MAX = 64
# Of one answer with `return_vectors`; clients receive 64 MiB in all.
RETURNED_VECTORS_BYTES_MAX = 48 * 2**20
FLOAT32_BYTES = 4


def check_service_name(name: str) -> None:
    if not SERVICE_NAME.fullmatch(name):
        message = "a service is named tenants/{tenant}/services/{service}: lower case letters, digits, hyphens"
        raise InvalidRequest("service", "SERVICE_NAME_INVALID", message)


def check_query(query: Query, version: RouteVersion, limits: Limits, *, items_max: int) -> None:
    """Raises InvalidRequest at the first thing that is wrong. `items_max`: of the items that a query asks by."""
    _check_range("top_k", "TOP_K_OUT_OF_RANGE", query.top_k, limits.max_top_k)
    _check_vectors(query.vector_values, version.schema.dimension)
    if query.items is not None:
        check_item_query(query.items, items_max=items_max)
    if query.ef is not None:
        _check_range("params.ef", "EF_OUT_OF_RANGE", query.ef, limits.max_ef)
    if query.nprobe is not None:
        nprobe_max = cells_within(limits.max_ef, version.prices)
        _check_range("params.nprobe", "NPROBE_OUT_OF_RANGE", query.nprobe, nprobe_max)
    if query.exact and not limits.allow_exact:
        message = "exact search is not allowed for this service; its owner allows it by limits.allow_exact"
        raise InvalidRequest("params.exact", "EXACT_NOT_ALLOWED", message)
    if query.excluded > EXCLUDED_IDS_MAX:
        message = f"{query.excluded} ids are excluded; at most {EXCLUDED_IDS_MAX} may be"
        raise InvalidRequest("exclude", "TOO_MANY_EXCLUDED", message)
    if query.filter_bytes > FILTER_BYTES_MAX:
        message = f"the filter has {query.filter_bytes} bytes; at most {FILTER_BYTES_MAX} may be"
        raise InvalidRequest("filter", "FILTER_TOO_LONG", message)
    if len(query.return_attributes) > RETURNED_ATTRIBUTES_MAX:
        message = f"at most {RETURNED_ATTRIBUTES_MAX} attributes may be returned"
        raise InvalidRequest("return_attributes", "TOO_MANY_ATTRIBUTES", message)
    if query.return_vectors:
        check_returned_bytes(returned_bytes(query.top_k, version.schema))


def check_batch(batch: Batch, limits: Limits) -> None:
    """What a batch must satisfy as a whole; raises InvalidRequest.

    Its queries are checked one by one, and one that asks for more than it may is refused by itself.
    """
    count = len(batch.queries)
    if not 1 <= count <= BATCH_QUERIES_MAX:
        message = f"the batch holds {count} requests; it must hold 1 to {BATCH_QUERIES_MAX}"
        raise InvalidRequest("requests", "BATCH_SIZE_OUT_OF_RANGE", message)
    results = sum(query.top_k for query in batch.queries if 1 <= query.top_k <= limits.max_top_k)
    if results > BATCH_RESULTS_MAX:
        message = f"the batch asks for {results} results; queries x top_k may be {BATCH_RESULTS_MAX}"
        raise InvalidRequest("requests", "BATCH_TOO_LARGE", message)


def check_batch_member(query: Query, batch: Batch) -> None:
    """Raises InvalidRequest when a query of the batch names another service."""
    if query.service not in ("", batch.service):
        raise InvalidRequest("service", "SERVICE_MISMATCH", "a request of a batch names the batch's service, or none")


def check_items(query: ItemsQuery, schema: Schema) -> None:
    if not 1 <= query.ids <= GET_ITEMS_IDS_MAX:
        message = f"{query.ids} ids are asked for; there must be 1 to {GET_ITEMS_IDS_MAX}"
        raise InvalidRequest("items", "ITEM_COUNT_OUT_OF_RANGE", message)
    if query.return_vectors:
        check_returned_bytes(returned_bytes(query.ids, schema))


def returned_bytes(rows: int, schema: Schema) -> int:
    """Of the vectors of so many items."""
    return rows * schema.dimension * FLOAT32_BYTES


def check_returned_bytes(asked_bytes: int) -> None:
    """Raises InvalidRequest when vectors of so many bytes would not fit one answer."""
    if asked_bytes > RETURNED_VECTORS_BYTES_MAX:
        message = f"the vectors asked for take {asked_bytes} bytes; at most {RETURNED_VECTORS_BYTES_MAX} fit an answer"
        raise InvalidRequest("return_vectors", "ANSWER_TOO_LARGE", message)


def check_item_query(asked: ItemQuery, *, items_max: int) -> None:
    """Raises InvalidRequest for a query by items that is wrong for every version."""
    if not 1 <= len(asked.weights) <= items_max:
        message = f"{len(asked.weights)} query items; there must be 1 to {items_max}"
        raise InvalidRequest("items.items", "ITEM_COUNT_OUT_OF_RANGE", message)
    for number, weight in enumerate(asked.weights):
        if not math.isfinite(weight):
            field = f"items.items[{number}].weight"
            raise InvalidRequest(field, "WEIGHT_NOT_FINITE", "a weight is NaN or infinite")
    if not 0 <= asked.half_life_seconds < math.inf:
        message = f"the half-life is {asked.half_life_seconds:g} seconds; it must be finite and at least 0"
        raise InvalidRequest("items.half_life_seconds", "HALF_LIFE_OUT_OF_RANGE", message)
    if not 0 <= asked.min_coverage <= 1:
        message = f"the least coverage is {asked.min_coverage:g}; it must be 0 to 1"
        raise InvalidRequest("items.min_coverage", "MIN_COVERAGE_OUT_OF_RANGE", message)


def _check_range(field: str, reason: str, value: int, value_max: int) -> None:
    if not 1 <= value <= value_max:
        raise InvalidRequest(field, reason, f"{field} is {value}; it must be 1 to {value_max}")


def _check_vectors(vector_values: list[float], dimension: int) -> None:
    if len(vector_values) > QUERY_VECTORS_MAX:
        message = f"{len(vector_values)} query vectors; there may be {QUERY_VECTORS_MAX}"
        raise InvalidRequest("vectors", "VECTOR_COUNT_OUT_OF_RANGE", message)
    for number, values in enumerate(vector_values):
        if values != dimension:
            message = f"the vector has {values:g} values; the dimension is {dimension}"
            raise InvalidRequest(f"vectors.vectors[{number}]", "DIMENSION_MISMATCH", message)
