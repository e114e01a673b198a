"""What makes a row of a drop good or bad: one judgement, for imports and for the sample that an inspection reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from bundles.batches import Flags, RawBatch, dimension_mismatch
from bundles.report import Codes, codes_of
from bundles.schema import ImportSchema

Lengths = np.ndarray[Any, np.dtype[np.float64]]

FLOAT32_MAX = float(np.finfo(np.float32).max)


def judge(batch: RawBatch, schema: ImportSchema) -> tuple[Lengths, Codes]:
    """Euclidean length (float64) and reason code of each row."""
    squares = np.einsum("ij,ij->i", batch.vectors, batch.vectors, dtype=np.float64)
    finite = np.isfinite(squares)
    if not schema.normalized:
        # The engines compute in float32, where a longer vector would score infinity against itself.
        finite &= squares <= FLOAT32_MAX
    codes = codes_of(
        ("bad_line", np.zeros(len(squares), np.bool_) if batch.bad_lines is None else batch.bad_lines),
        ("bad_id", _nulls(batch.ids)),
        ("null_vector", batch.lengths < 0),
        ("wrong_dimension", batch.lengths != schema.dimension),
        ("nan", ~finite),
        ("zero_norm", (squares == 0) & schema.normalized),
        ("bad_attribute", batch.bad_cells),
    )
    return np.sqrt(squares), codes


def check_dimension(batch: RawBatch, dimension: int) -> None:
    """A file that begins with a batch of vectors none of which fits is no matter of single rows. Raises DropError."""
    found = batch.lengths[batch.lengths >= 0]
    if len(found) and not (found == dimension).any():
        lengths, counts = np.unique(found, return_counts=True)
        raise dimension_mismatch(batch.file, int(lengths[counts.argmax()]), dimension)


def _nulls(array: pa.Array) -> Flags:
    flags: Flags = array.is_null().to_numpy(zero_copy_only=False)
    return flags
