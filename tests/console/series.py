"""The source that tests of the wizard look into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_series(drops: Path) -> Path:
    """A drop of 60 rows, two of them bad, in file:series/ of films."""
    drop = drops / "films" / "series" / "20261121"
    drop.mkdir(parents=True)
    vectors = np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7, 0] = np.nan
    columns = {
        "id": [*range(59), 3],
        "vector": pa.array(list(vectors), pa.list_(pa.float32())),
        "genre": ["drama" if row % 3 else "noir <b>" for row in range(60)],
        "year": pa.array([1950 + row for row in range(60)], pa.int32()),
    }
    pq.write_table(pa.table(columns), drop / "items-0.parquet")
    (drop / "_SUCCESS").touch()
    return drop
