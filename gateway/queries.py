"""A request as the core sees it: what routing, admission and checks need, and the bytes that travel on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.auth import Caller


@dataclass(slots=True)
class ItemQuery:
    """What is cheap to know of a query by items; `weights` holds one for each item, 0 where the caller gave none."""

    weights: list[float]
    half_life_seconds: float
    min_coverage: float


@dataclass(slots=True)
class Query:
    """One query. `payload` is the caller's message, which goes to the replica as it came.

    `vector_values` holds the number of float32 values of each query vector.
    """

    payload: bytes
    service: str
    top_k: int
    vector_values: list[float]
    items: ItemQuery | None = None
    ef: int | None = None
    nprobe: int | None = None
    exact: bool = False
    excluded: int = 0
    filter_bytes: int = 0
    return_vectors: bool = False
    return_attributes: Sequence[str] = ()
    require_version: int = 0
    model_version: str = ""


@dataclass(slots=True)
class Batch:
    service: str
    queries: list[Query]


@dataclass(slots=True)
class ItemsQuery:
    """Ids to be looked up."""

    payload: bytes
    service: str
    ids: int
    return_vectors: bool


@dataclass(slots=True)
class Call:
    """What is known of one call before its request is read.

    `expires_at` is of time.monotonic(). `service` is filled when the service was resolved for this caller; it is a
    label of metrics and never holds what a stranger typed. `queries` is more than one once a batch was read.
    """

    caller: Caller
    expires_at: float
    service: str = ""
    queries: int = 1
