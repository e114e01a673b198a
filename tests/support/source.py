"""Drops for services of the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings

from catalog.models import Service


def write_drop(
    service: Service,
    name: str,
    *,
    items: int = 60,
    dimension: int = 4,
    bad_rows: int = 0,
    first_id: int = 1,
    scale: float = 1.0,
    texts: bool = False,
    attributes: Mapping[str, Sequence[Any] | pa.Array] | None = None,
    **manifest: Any,
) -> Path:
    """A complete drop of `service`: `items` good rows and after them `bad_rows` with a NaN; returns its folder."""
    folder = Path(settings.RECALL_DROPS) / service.tenant.name / service.name / name
    folder.mkdir(parents=True)
    vectors = scale * np.random.default_rng(items).normal(size=(items + bad_rows, dimension)).astype(np.float32)
    vectors[items:] = np.nan
    ids = range(first_id, first_id + len(vectors))
    columns = {
        "id": pa.array([f"film-{number}" for number in ids] if texts else ids),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), dimension),
        **(attributes or {}),
    }
    pq.write_table(pa.table(columns), folder / "items-0.parquet")
    (folder / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"], **manifest}))
    return folder
