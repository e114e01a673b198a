"""Made data with the structure that embeddings have: clusters of unequal density."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

QUERIES = 1_000
ITEMS_PER_CLUSTER = 200
BLOCK_ROWS = 262_144
ROW_GROUP_ROWS = 131_072
NO_COLUMNS: Mapping[str, pa.Array] = {}


def clustered(n: int, d: int, seed: int, queries: int = QUERIES) -> tuple[Float32, Float32]:
    """Items [n, d] and queries [queries, d], float32 of length 1, drawn from the same clusters."""
    rng = np.random.default_rng(seed)
    clusters = max(1, n // ITEMS_PER_CLUSTER)
    centres = rng.standard_normal((clusters, d), dtype=np.float32)
    spreads = rng.uniform(0.3, 1.0, clusters).astype(np.float32)
    vectors = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, BLOCK_ROWS):
        stop = min(n, start + BLOCK_ROWS)
        vectors[start:stop] = _draw(rng, centres, spreads, stop - start)
    return vectors, _draw(rng, centres, spreads, queries)


def write_items(path: Path, vectors: Float32, columns: Mapping[str, pa.Array] = NO_COLUMNS) -> None:
    """A drop's file of items, Parquet: ids are row numbers, `columns` are attributes."""
    listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"id": np.arange(len(vectors)), "vector": listed, **columns})
    pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS)


def _draw(rng: np.random.Generator, centres: Float32, spreads: Float32, n: int) -> Float32:
    cluster = rng.integers(len(centres), size=n)
    points = rng.standard_normal((n, centres.shape[1]), dtype=np.float32)
    points *= spreads[cluster, None]
    points += centres[cluster]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points
