"""Drops that the end-to-end tests make: clustered vectors, ids that tell which drop they came from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import clustered


def write_drop(source: Path, name: str, *, items: int, dimension: int, first_id: int, seed: int) -> np.ndarray:
    """Writes one complete drop below `source`, manifest last; returns its vectors, float32 [items, dimension]."""
    vectors, _ = clustered(items, dimension, seed)
    folder = source / name
    folder.mkdir(parents=True)
    columns = {
        "id": pa.array(np.arange(first_id, first_id + items, dtype=np.int64)),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimension),
    }
    pq.write_table(pa.table(columns), folder / "items-000.parquet")
    (folder / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"], "count": items}))
    return vectors
