"""Raw query vectors become one matrix that the searcher takes as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replicas.queries import Floats
from replicas.schema import VersionSchema


class Refusal(NamedTuple):
    """Why a vector cannot be searched."""

    reason: str
    message: str


NOT_FINITE = Refusal("VECTOR_NOT_FINITE", "the vector holds NaN or an infinite value")
ZERO = Refusal("VECTOR_ZERO", "a vector of zeros has no direction, which this service's metric needs")


class Stacked(NamedTuple):
    """All vectors of a batch, float32 [n, d], and the refused rows; a refused row's values mean nothing."""

    matrix: Floats
    refused: dict[int, Refusal]


def stack(vectors: Sequence[bytes], schema: VersionSchema) -> Stacked:
    """The vectors as they are searched: normalised when the schema says so. Each has the schema's length."""
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), schema.dimension)
    finite = np.isfinite(matrix).all(axis=1)
    refused: dict[int, Refusal] = {}
    if not finite.all():
        refused = dict.fromkeys(np.flatnonzero(~finite).tolist(), NOT_FINITE)
        matrix = np.where(finite[:, None], matrix, np.float32(0))
    if schema.normalized:
        norms = _norms(matrix)
        if not norms.all():
            refused = {**dict.fromkeys(np.flatnonzero(norms == 0).tolist(), ZERO), **refused}
            norms = np.where(norms == 0, 1.0, norms)
        matrix = matrix / norms[:, None]
    return Stacked(np.ascontiguousarray(matrix, dtype=np.float32), refused)


def _norms(matrix: Floats) -> NDArray[np.float64]:
    """In float64, so that great components do not overflow and small ones do not vanish."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return np.sqrt(squares)
