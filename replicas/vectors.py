"""Query vectors as the searcher takes them: finite, and normalised when the schema says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bundles.query_vectors import Searched, as_searched
from replicas.errors import InvalidQuery, ReplicaError
from replicas.loaded import LoadedVersion
from replicas.queries import Coverage, Floats, Query, Rows
from replicas.schema import VersionSchema

NO_ROWS: Rows = np.empty(0, dtype=np.int64)


class Encoded(NamedTuple):
    """What one query is searched by, whatever its caller asked by.

    `vectors` [m, d] are as the searcher takes them. `own_rows` are searchable rows that the query itself is made of,
    each once: they are not in its answer. `coverage` goes into the answer as it is. `model_us`: microseconds that the
    query model computed, for this query and those that it computed together with it.
    """

    vectors: Floats
    own_rows: Rows = NO_ROWS
    coverage: Coverage | None = None
    model_us: int = 0


def encode_given(loaded: LoadedVersion, queries: Sequence[Query]) -> list[Encoded | ReplicaError]:
    """The encoder of queries by vectors: each refusal names the vector."""
    stacked = stack([raw for query in queries for raw in query.vectors], loaded.schema)
    encoded: list[Encoded | ReplicaError] = []
    first = 0
    for query in queries:
        last = first + len(query.vectors)
        refused = next((row for row in range(first, last) if row in stacked.refused), None) if stacked.refused else None
        if refused is None:
            encoded.append(Encoded(stacked.matrix[first:last]))
        else:
            refusal = stacked.refused[refused]
            encoded.append(InvalidQuery(f"vectors.vectors[{refused - first}]", refusal.reason, refusal.message))
        first = last
    return encoded


def stack(vectors: Sequence[bytes], schema: VersionSchema) -> Searched:
    """Raw little-endian float32 vectors, each of the schema's length, as they are searched."""
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), schema.dimension)
    return as_searched(matrix, normalized=schema.normalized)
