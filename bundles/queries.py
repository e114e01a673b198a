"""Queries to tune, warm up and check a version with: what the drop recorded, else a sample of its items."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bundles import columns
from bundles.batches import DEFAULT_LIMITS, Float32, Int64, dimension_mismatch, reading
from bundles.catalogue import Catalogue
from bundles.drop import Drop
from bundles.errors import DropError
from bundles.files import DropFile, ItemFile
from bundles.formats import parquet
from bundles.query_vectors import WeightsCancel, as_searched, weighted_mean
from bundles.schema import ImportSchema

QUERIES_MAX = 10_000
SAMPLED_QUERIES = 1_000
SAMPLE_SEED = 20_231
QUERY_COLUMN = "vector"
ITEMS_COLUMN = "items"
MODEL_COLUMN = "model_version"
# Of one recorded query; how many callers may ask by is a setting of gateways and replicas.
QUERY_ITEMS_MAX = 1_000

# The drop's recorded vectors, lists of items, and features; live queries of its predecessors; a sample of its items.
QueriesSource = Literal["recorded", "item_ids", "features", "live", "items"]
# The good queries of a batch of rows, float32 [q, d].
Reader = Callable[[pa.RecordBatch], Float32]


def load_queries(
    drop: Drop,
    schema: ImportSchema,
    items: Float32,
    *,
    catalogue: Catalogue | None = None,
    features: Collection[str] = (),
    queries_max: int = QUERIES_MAX,
    sampled: int = SAMPLED_QUERIES,
    seed: int = SAMPLE_SEED,
) -> tuple[Float32, QueriesSource]:
    """float32 [q, d] as they are searched, and where they come from.

    The first `queries_max` good rows of the drop's queries: of the column `vector`, where rows whose `model_version` is
    another than the drop's are of another space and do not count; else of the column `items`, each the mean of the
    items that `catalogue` holds, by the rule that replicas follow. A column named in `features` is the query model's.
    Without any, `sampled` rows of `items` (the searchable vectors of this very import), the same ones for the same
    seed. Raises DropError when the recorded queries have another dimension or type, cannot be read, or none of them is
    good.
    """
    if drop.queries is not None:
        vectors = _recorded_vectors(drop, drop.queries, schema, queries_max)
        if vectors is not None:
            return vectors, "recorded"
        if catalogue is not None and ITEMS_COLUMN not in features:
            means = _recorded_items(drop.queries, schema, catalogue, queries_max)
            if means is not None:
                return means, "item_ids"
    chosen = np.random.default_rng(seed).choice(len(items), size=min(sampled, len(items)), replace=False)
    return np.array(items[np.sort(chosen)], np.float32), "items"


def _recorded_vectors(drop: Drop, file: DropFile, schema: ImportSchema, queries_max: int) -> Float32 | None:
    """None without such a column, and when all of its rows are of another model."""
    strangers = 0

    def read(batch: pa.RecordBatch) -> Float32:
        nonlocal strangers
        own = _of_model(batch, drop.model_version)
        strangers += batch.num_rows - own.num_rows
        return _good(file.name, own.column(QUERY_COLUMN), schema)

    queries = _read(file, schema, QUERY_COLUMN, _check_vectors, read, queries_max)
    if queries is None or (strangers and not len(queries)):
        return None
    if not len(queries):
        message = f"No query in {file.name} is a good vector."
        raise DropError("drop.empty", message, {"file": file.name})
    return queries


def _recorded_items(file: DropFile, schema: ImportSchema, catalogue: Catalogue, queries_max: int) -> Float32 | None:
    """None without such a column."""

    def read(batch: pa.RecordBatch) -> Float32:
        return _means(batch.column(ITEMS_COLUMN), schema, catalogue)

    queries = _read(file, schema, ITEMS_COLUMN, _check_items, read, queries_max)
    if queries is not None and not len(queries):
        message = f"No query in {file.name} (column `{ITEMS_COLUMN}`) names an item of the drop."
        raise DropError("drop.empty", message, {"file": file.name, "column": ITEMS_COLUMN})
    return queries


def _read(
    file: DropFile,
    schema: ImportSchema,
    column: str,
    check: Callable[[str, pa.DataType, ImportSchema], None],
    read: Reader,
    queries_max: int,
) -> Float32 | None:
    """What `read` makes of the rows, as far as they are wanted; None when the file has no such column."""
    item = ItemFile(file)
    parts: list[Float32] = []
    with reading(item, "Parquet"), item.data.open() as source:
        reader = parquet.open_file(source, text_columns=[])
        if column not in reader.schema_arrow.names:
            return None
        check(item.name, reader.schema_arrow.field(column).type, schema)
        names = [name for name in (column, MODEL_COLUMN) if name in reader.schema_arrow.names]
        rows = DEFAULT_LIMITS.batch_rows(parquet.row_bytes(item.name, reader.metadata, names, schema))
        for batch in reader.iter_batches(batch_size=min(rows, queries_max), columns=names):
            parts.append(read(batch))
            if sum(map(len, parts)) >= queries_max:
                break
    return np.concatenate(parts)[:queries_max] if parts else np.empty((0, schema.dimension), np.float32)


def _of_model(batch: pa.RecordBatch, model_version: str) -> pa.RecordBatch:
    """The rows that name no other model than the drop's."""
    if MODEL_COLUMN not in batch.schema.names:
        return batch
    named = batch.column(MODEL_COLUMN).cast(pa.large_string())
    return batch.filter(pc.fill_null(pc.equal(named, model_version), True))


def _check_vectors(file: str, found: pa.DataType, schema: ImportSchema) -> None:
    if not columns.is_vector(found):
        raise _bad_type(file, QUERY_COLUMN, found, "a list of floats")
    if pa.types.is_fixed_size_list(found) and found.list_size != schema.dimension:
        raise dimension_mismatch(file, found.list_size, schema.dimension)


def _check_items(file: str, found: pa.DataType, schema: ImportSchema) -> None:
    if not columns.is_id_list(found, schema.id_type):
        raise _bad_type(file, ITEMS_COLUMN, found, f"a list of ids ({schema.id_type})")


def _bad_type(file: str, column: str, found: pa.DataType, expected: str) -> DropError:
    message = f"Column `{column}` of {file} is {found}; expected {expected}."
    details = {"file": file, "column": column, "found": str(found), "expected": expected}
    return DropError("drop.bad_column_type", message, details)


def _good(file: str, column: pa.Array, schema: ImportSchema) -> Float32:
    """The queries of a batch that a replica would search by."""
    vectors, lengths = columns.vectors(column, schema.dimension)
    wrong = lengths[(lengths >= 0) & (lengths != schema.dimension)]
    if len(wrong):
        raise dimension_mismatch(file, int(wrong[0]), schema.dimension)
    return _searchable(vectors[lengths >= 0], schema)


def _means(column: pa.Array, schema: ImportSchema, catalogue: Catalogue) -> Float32:
    """The mean of each row's known items; none of rows without one, and of those with more than may be asked by."""
    keys, owners = columns.ids_in_lists(column, schema.id_type)
    rows = catalogue.lookup.rows_of(keys.to_pylist())
    means: list[Float32] = []
    for part in np.split(rows, np.searchsorted(owners, np.arange(1, len(column)))):
        mean = _mean(part[part >= 0], schema, catalogue) if len(part) <= QUERY_ITEMS_MAX else None
        if mean is not None:
            means.append(mean)
    return _searchable(np.array(means, np.float32).reshape(-1, schema.dimension), schema)


def _mean(rows: Int64, schema: ImportSchema, catalogue: Catalogue) -> Float32 | None:
    """None when there is nothing to take the mean of, or nothing is left of it."""
    if not len(rows):
        return None
    weights = np.ones(len(rows))
    try:
        return weighted_mean(catalogue.vectors[rows], weights, metric=schema.metric, normalized=schema.normalized)
    except WeightsCancel:
        return None


def _searchable(vectors: Float32, schema: ImportSchema) -> Float32:
    """Those that a replica does not refuse, as it searches them."""
    searched = as_searched(vectors, normalized=schema.normalized)
    good = np.ones(len(vectors), np.bool_)
    good[list(searched.refused)] = False
    return searched.matrix[good]
