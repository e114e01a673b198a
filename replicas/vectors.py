"""Query vectors as the searcher takes them: finite, and normalised when the schema says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Refusal(NamedTuple):
    """Why a vector cannot be searched."""

    reason: str
    message: str


# The greatest length of a vector as it is searched, so that no score of it overflows float32. No real one is near.
LENGTH_MAX = 1e18
NOT_FINITE = Refusal("VECTOR_NOT_FINITE", "the vector holds NaN or an infinite value")
TOO_LONG = Refusal("VECTOR_TOO_LONG", f"the vector's length is above {LENGTH_MAX:g}, where scores overflow")
ZERO = Refusal("VECTOR_ZERO", "a vector of zeros has no direction, which this service's metric needs")


class Stacked(NamedTuple):
    """Vectors float32 [n, d], and the refused rows; a refused row's values mean nothing."""

    matrix: Floats
    refused: dict[int, Refusal]


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


def stack(vectors: Sequence[bytes], schema: VersionSchema) -> Stacked:
    """Raw little-endian float32 vectors, each of the schema's length, as they are searched."""
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), schema.dimension)
    return as_searched(matrix, schema)


def as_searched(matrix: Floats, schema: VersionSchema) -> Stacked:
    """Vectors float32 [n, d] of any origin as they are searched: normalised when the schema says so."""
    # One pass tells both: the length of a vector with NaN or an infinite value is not below anything.
    norms = _norms(matrix)
    good: NDArray[np.bool_] = norms < (np.inf if schema.normalized else LENGTH_MAX)
    refused: dict[int, Refusal] = {}
    if not good.all():
        refused = {row: TOO_LONG if np.isfinite(norms[row]) else NOT_FINITE for row in np.flatnonzero(~good).tolist()}
        matrix = np.where(good[:, None], matrix, np.float32(0))
        norms = np.where(good, norms, 0.0)
    if schema.normalized:
        if not norms.all():
            refused = {**dict.fromkeys(np.flatnonzero(norms == 0).tolist(), ZERO), **refused}
            norms = np.where(norms == 0, 1.0, norms)
        matrix = (matrix / norms[:, None]).astype(np.float32)
    return Stacked(np.ascontiguousarray(matrix, dtype=np.float32), refused)


def _norms(matrix: Floats) -> NDArray[np.float64]:
    """In float64, so that great components do not overflow and small ones do not vanish."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return np.sqrt(squares)
