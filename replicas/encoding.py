"""From what callers ask by to query vectors: each kind of query has its encoder.

An encoder sees all queries of its kind in a batch at once, so that what is cheaper together (a look-up of ids, a run of
a model) happens together. It returns, for each query, what it is searched by or why it cannot be, and names the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from replicas.errors import InternalError, ReplicaError
from replicas.inference import encode_features
from replicas.item_queries import encode_items
from replicas.loaded import LoadedVersion
from replicas.queries import Query, QueryKind
from replicas.vectors import Encoded, encode_given

log = structlog.get_logger()

Encoder = Callable[[LoadedVersion, Sequence[Query]], list[Encoded | ReplicaError]]

ENCODERS: Mapping[QueryKind, Encoder] = {
    QueryKind.VECTORS: encode_given,
    QueryKind.ITEMS: encode_items,
    QueryKind.FEATURES: encode_features,
}


def encode(loaded: LoadedVersion, queries: Sequence[Query]) -> list[Encoded | ReplicaError]:
    """What each of the (checked) queries is searched by, in order; one that cannot be encoded is its own error."""
    places: dict[QueryKind, list[int]] = {}
    for place, query in enumerate(queries):
        places.setdefault(query.kind, []).append(place)
    if len(places) == 1:
        return _encode_alike(loaded, queries)
    encoded: list[Encoded | ReplicaError] = [InternalError()] * len(queries)
    for some in places.values():
        for place, each in zip(some, _encode_alike(loaded, [queries[place] for place in some]), strict=True):
            encoded[place] = each
    return encoded


def _encode_alike(loaded: LoadedVersion, queries: Sequence[Query]) -> list[Encoded | ReplicaError]:
    """Queries of one kind; a query that breaks the encoder is found by encoding alone."""
    try:
        return ENCODERS[queries[0].kind](loaded, queries)
    except Exception:
        log.warning("encoding_failed", kind=queries[0].kind.value, queries=len(queries), exc_info=True)
        if len(queries) == 1:
            return [InternalError()]
        return [encoded for query in queries for encoded in _encode_alike(loaded, [query])]
