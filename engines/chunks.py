"""Vectors, a chunk at a time, so that a builder can tell how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator

from engines.base import Float32
from engines.checks import check_finite

# A chunk aims at this time: long beside starting its threads and waiting for the last of them, short for a reader.
CHUNK_SECONDS = 0.5
CHUNK_ROWS_MIN = 1_000
CHUNK_ROWS_MAX = 20_000


def timed_chunks(vectors: Float32) -> Iterator[tuple[int, Float32]]:
    """(first row, chunk of `vectors`), in order; how long the reader works on one decides the size of the next.

    Raises VectorsInvalid at a chunk that holds NaN or infinity.
    """
    done, size = 0, CHUNK_ROWS_MIN
    while done < len(vectors):
        started = time.perf_counter()
        chunk = vectors[done : done + size]
        check_finite(chunk, done)
        yield done, chunk
        done += len(chunk)
        size = _next_size(len(chunk), time.perf_counter() - started)


def _next_size(rows: int, seconds: float) -> int:
    return min(CHUNK_ROWS_MAX, max(CHUNK_ROWS_MIN, int(rows * CHUNK_SECONDS / max(seconds, 1e-6))))
