"""Queries and answers as Swagger UI offers them, each of a service with a dimension of 4."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

VECTOR = [0.25, -0.5, 0.75, 0.125]
OTHER_VECTOR = [0.5, 0.5, -0.25, 0.0]

BY_VECTOR: dict[str, Any] = {"vectors": [VECTOR], "top_k": 3, "trace": True}
BY_INTERESTS: dict[str, Any] = {
    "vectors": {"vectors": [VECTOR, OTHER_VECTOR], "weights": [1.0, 0.5]},
    "merge": "MAX",
    "top_k": 3,
}
BY_ITEMS: dict[str, Any] = {
    "items": {
        "items": [{"id": 11}, {"id": 12, "weight": 0.5, "timestamp_seconds": 1_795_600_000}],
        "half_life_seconds": 604_800,
        "on_missing": "SKIP",
    },
    "top_k": 3,
}
BY_FEATURES: dict[str, Any] = {
    "features": {"features": {"hist_item": {"ints": {"values": [11, 12]}}, "age": {"floats": {"values": [31.0]}}}},
    "top_k": 3,
}
NARROWED: dict[str, Any] = {
    "vectors": [VECTOR],
    "top_k": 3,
    "filter": "year >= 1990 and genre contains 'noir'",
    "exclude": {"ids": [11, 12]},
    "return_attributes": ["genre"],
    "return_vectors": True,
}
OF_A_MODEL: dict[str, Any] = {"vectors": [VECTOR], "top_k": 3, "model_version": "tower-7"}
ANSWER: dict[str, Any] = {
    "version": "7",
    "ids": ["31", "42"],
    "text_ids": [],
    "scores": [0.9375, 0.5],
    "found_by": [],
    "attributes": [{"name": "year", "ints": {"values": ["1999", "0"]}, "present": [True, False]}],
    "vectors": [],
    "degraded": False,
    "shortfall": 1,
    "timings": {"queue_us": "40", "model_us": "0", "search_us": "180", "merge_us": "12", "total_us": "260"},
    "token": "",
    "replica": "node-1-7",
    "model_version": "tower-7",
}
NO_ANSWER: dict[str, Any] = {
    "code": 3,
    "reason": "DIMENSION_MISMATCH",
    "message": "the vector has 3 values; the dimension is 4",
    "field": "vectors.vectors[0]",
}


def _asked(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=True)


def _answered(name: str, value: dict[str, Any]) -> OpenApiExample:
    return OpenApiExample(name, value=value, response_only=True)


RECALL = (
    _asked("By a vector", BY_VECTOR),
    _asked("By several interest vectors", BY_INTERESTS),
    _asked("By items", BY_ITEMS),
    _asked("By features", BY_FEATURES),
    _asked("Filtered, without items that were seen", NARROWED),
    _asked("With vectors of a model of one's own", OF_A_MODEL),
    _answered("Two items, one short of top_k", ANSWER),
)
BATCH_RECALL = (
    _asked("Two queries", {"requests": [BY_VECTOR, BY_ITEMS]}),
    _answered("An answer and an error", {"results": [{"response": ANSWER}, {"error": NO_ANSWER}]}),
)
COUNT = (_answered("Of 100 items 90 may be answers", {"version": "7", "items": "100", "searchable_items": "90"}),)
