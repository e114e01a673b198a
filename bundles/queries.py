"""Queries to warm up and check a version with: what the drop recorded, else a sample of its items."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bundles import columns
from bundles.batches import DEFAULT_LIMITS, Float32, dimension_mismatch, reading
from bundles.drop import Drop
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.formats import parquet
from bundles.importing import normalized
from bundles.schema import ImportSchema

QUERIES_MAX = 10_000
SAMPLED_QUERIES = 1_000
SAMPLE_SEED = 20_231
QUERY_COLUMN = "vector"
MODEL_COLUMN = "model_version"

QueriesSource = Literal["recorded", "items"]


def load_queries(
    drop: Drop,
    schema: ImportSchema,
    items: Float32,
    *,
    queries_max: int = QUERIES_MAX,
    sampled: int = SAMPLED_QUERIES,
    seed: int = SAMPLE_SEED,
) -> tuple[Float32, QueriesSource]:
    """float32 [q, d] of length 1 when the schema says so, and where they come from.

    The first `queries_max` good rows of the column `vector` of the drop's queries; without such a column `sampled`
    rows of `items` (the searchable vectors of this very import), the same ones for the same seed. Where a column
    `model_version` names another model than the drop's, the vector is of another space and does not count. Raises
    DropError when the recorded queries have another dimension, cannot be read, or none of them is good.
    """
    recorded = _recorded(drop, schema, queries_max)
    if recorded is not None:
        return recorded, "recorded"
    chosen = np.random.default_rng(seed).choice(len(items), size=min(sampled, len(items)), replace=False)
    return np.array(items[np.sort(chosen)], np.float32), "items"


def _recorded(drop: Drop, schema: ImportSchema, queries_max: int) -> Float32 | None:
    if drop.queries is None:
        return None
    item = ItemFile(drop.queries)
    parts: list[Float32] = []
    with reading(item, "Parquet"), item.data.open() as file:
        reader = parquet.open_file(file, text_columns=[])
        if QUERY_COLUMN not in reader.schema_arrow.names:
            return None
        _check_column(item.name, reader.schema_arrow.field(QUERY_COLUMN).type, schema)
        names = [name for name in (QUERY_COLUMN, MODEL_COLUMN) if name in reader.schema_arrow.names]
        rows = DEFAULT_LIMITS.batch_rows(parquet.row_bytes(item.name, reader.metadata, names, schema))
        strangers = 0
        for batch in reader.iter_batches(batch_size=min(rows, queries_max), columns=names):
            own = _of_model(batch, drop.model_version)
            strangers += batch.num_rows - own.num_rows
            parts.append(_good(item.name, own.column(QUERY_COLUMN), schema))
            if sum(map(len, parts)) >= queries_max:
                break
    queries = np.concatenate(parts)[:queries_max] if parts else np.empty((0, schema.dimension), np.float32)
    if not len(queries) and strangers:
        return None
    if not len(queries):
        message = f"No query in {item.name} is a good vector."
        raise DropError("drop.empty", message, {"file": item.name})
    return queries


def _of_model(batch: pa.RecordBatch, model_version: str) -> pa.RecordBatch:
    """The rows that name no other model than the drop's."""
    if MODEL_COLUMN not in batch.schema.names:
        return batch
    named = batch.column(MODEL_COLUMN).cast(pa.large_string())
    return batch.filter(pc.fill_null(pc.equal(named, model_version), True))


def _check_column(file: str, found: pa.DataType, schema: ImportSchema) -> None:
    if not columns.is_vector(found):
        message = f"Column `{QUERY_COLUMN}` of {file} is {found}; expected a list of floats."
        raise DropError("drop.bad_column_type", message, {"file": file, "column": QUERY_COLUMN, "found": str(found)})
    if pa.types.is_fixed_size_list(found) and found.list_size != schema.dimension:
        raise dimension_mismatch(file, found.list_size, schema.dimension)


def _good(file: str, column: pa.Array, schema: ImportSchema) -> Float32:
    """The queries of a batch that are finite, and not of length 0 where that matters."""
    vectors, lengths = columns.vectors(column, schema.dimension)
    wrong = lengths[(lengths >= 0) & (lengths != schema.dimension)]
    if len(wrong):
        raise dimension_mismatch(file, int(wrong[0]), schema.dimension)
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    good = np.isfinite(squares) & (lengths >= 0) & ((squares > 0) | (not schema.normalized))
    vectors = vectors[good]
    return normalized(vectors, np.sqrt(squares[good])) if schema.normalized else vectors
