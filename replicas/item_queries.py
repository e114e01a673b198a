"""The encoder of queries by items: one vector, the weighted mean of the vectors of the items that the version holds.

Decay    with a half-life, an item's weight halves for each half-life by which it is older than the newest item of the
         query. So the answer depends on the query alone, not on when or where it is answered, and a history that ended
         long ago asks as it did on its last day. Items without a timestamp do not decay.
Mean     `bundles.query_vectors.weighted_mean`, as for the queries that a drop recorded.
Missing  what the version lacks is left out of the mean; coverage is the share of absolute weight, after decay, that is
         left.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundles.query_vectors import WeightsCancel, as_searched, weighted_mean
from replicas.errors import InvalidQuery, ReplicaError
from replicas.item_checks import ITEMS_FIELD, item_field
from replicas.loaded import LoadedVersion
from replicas.queries import Coverage, Floats, ItemQuery, OnMissing, Query, Rows
from replicas.schema import VersionSchema
from replicas.vectors import NO_ROWS, Encoded

Weights = NDArray[np.float64]


def encode_items(loaded: LoadedVersion, queries: Sequence[Query]) -> list[Encoded | ReplicaError]:
    """One vector for each query; the ids of all are looked up together."""
    asked = [query.items for query in queries]
    keys: list[Any] = [item.key for item in chain.from_iterable(each.items for each in asked)]
    rows = loaded.rows_of(keys)
    encoded: list[Encoded | ReplicaError] = []
    first = 0
    for each in asked:
        last = first + len(each.items)
        try:
            encoded.append(_encode(loaded, each, rows[first:last]))
        except ReplicaError as error:
            encoded.append(error)
        first = last
    return encoded


def decayed_weights(asked: ItemQuery) -> Weights:
    """The weight of each item, float64 [n], after decay."""
    weights = np.array([item.weight for item in asked.items], dtype=np.float64)
    stamps = [item.timestamp_seconds for item in asked.items]
    newest = max((stamp for stamp in stamps if stamp is not None), default=None)
    if not asked.half_life_seconds or newest is None:
        return weights
    # Python's integers: the distance of two timestamps may not fit 64 bits.
    ages = np.array([0.0 if stamp is None else float(newest - stamp) for stamp in stamps])
    with np.errstate(over="ignore", under="ignore"):
        return weights * np.exp2(-ages / asked.half_life_seconds)


def _encode(loaded: LoadedVersion, asked: ItemQuery, rows: Rows) -> Encoded:
    """Raises InvalidQuery."""
    known = rows >= 0
    weights = decayed_weights(asked)
    coverage = _coverage(asked, weights, known)
    _check_coverage(loaded.schema, asked, coverage, known)
    mean = _mean(loaded.vectors[rows[known]], weights[known], loaded.schema)
    searched = as_searched(mean[np.newaxis], normalized=loaded.schema.normalized)
    if searched.refused:
        refusal = searched.refused[0]
        raise InvalidQuery(ITEMS_FIELD, refusal.reason, f"of the weighted mean of the query items: {refusal.message}")
    own_rows = NO_ROWS if asked.keep_query_items else loaded.answerable(rows)
    return Encoded(searched.matrix, own_rows, coverage)


def _mean(vectors: Floats, weights: Weights, schema: VersionSchema) -> Floats:
    """Raises InvalidQuery."""
    try:
        return weighted_mean(vectors, weights, metric=schema.metric, normalized=schema.normalized)
    except WeightsCancel as error:
        raise InvalidQuery(ITEMS_FIELD, "WEIGHTS_CANCEL", error.message) from error


def _coverage(asked: ItemQuery, weights: Weights, known: NDArray[np.bool_]) -> Coverage:
    absolute = np.abs(weights)
    total = float(absolute.sum())
    return Coverage(
        used=[item.key for item, there in zip(asked.items, known, strict=True) if there],
        missing=[item.key for item, there in zip(asked.items, known, strict=True) if not there],
        weight_covered=float(absolute[known].sum()) / total if total else 0.0,
    )


def _check_coverage(schema: VersionSchema, asked: ItemQuery, coverage: Coverage, known: NDArray[np.bool_]) -> None:
    version = f"version {schema.version}"
    if not coverage.used:
        message = f"none of the {len(asked.items)} query items is in {version}"
        raise InvalidQuery(ITEMS_FIELD, "NO_ITEM_KNOWN", message)
    if asked.on_missing is OnMissing.FAIL and coverage.missing:
        first = int(np.argmin(known))
        message = f"{len(coverage.missing)} of the {len(asked.items)} query items are not in {version}; this is one"
        raise InvalidQuery(item_field(first, schema), "ITEM_UNKNOWN", message)
    # Compared as float32, in which the caller wrote the limit: 4 of 5 items are a coverage of 0.8.
    covered, wanted = np.float32(coverage.weight_covered), np.float32(asked.min_coverage)
    if asked.on_missing is OnMissing.MIN_COVERAGE and covered < wanted:
        # As a float32 is written, so that the two never read alike.
        message = f"the query items in {version} have {covered!s} of the absolute weight"
        message = f"{message}; at least {wanted!s} is asked for"
        raise InvalidQuery("items.min_coverage", "COVERAGE_TOO_LOW", message)
