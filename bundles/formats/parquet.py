"""Items in Parquet: id, vector (a list of floats of any width), attributes, optional boolean `searchable`.

Files are strangers': texts stay dictionaries until they are measured, pages are checked against their checksums
where there are any, and a batch has as many rows as its decoded size allows, by what the footer says of each
column. A footer that lies still meets the limits of the import, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bundles import columns
from bundles.batches import (
    SEARCHABLE_COLUMN,
    BatchLimits,
    FileDescription,
    Flags,
    RawBatch,
    bad_id_type,
    dimension_mismatch,
    missing_column,
    reading,
)
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.schema import ImportSchema

IDS_APART = False
VECTOR_FORM = "a list of float16, float32 or float64"

# What a footer may make the reader allocate: bytes of one text, elements of one list.
THRIFT_LIMITS = {"thrift_string_size_limit": 16 << 20, "thrift_container_size_limit": 1 << 20}
READ_BUFFER_BYTES = 1 << 20
LEAF_VALUE_BYTES = 8
# A row group whose lists are on average this many times longer than the schema says is not read at all.
AVERAGE_LENGTH_RATIO_MAX = 2


def count_rows(item: ItemFile) -> int | None:
    """Rows by the footer."""
    with reading(item, "Parquet"), item.data.open() as file:
        return int(_metadata(file).num_rows)


def describe(item: ItemFile, rows: int) -> FileDescription:
    """Columns and at most `rows` first rows."""
    with reading(item, "Parquet"), item.data.open() as file:
        reader = open_file(file, text_columns=[])
        batch = next(reader.iter_batches(batch_size=max(1, rows), use_threads=False), None)
        schema = reader.schema_arrow
        sample = pa.Table.from_batches([batch] if batch is not None else [], schema)
        return FileDescription(schema, sample)


def read(item: ItemFile, schema: ImportSchema, limits: BatchLimits) -> Iterator[RawBatch]:
    """All rows in order. Raises DropError for columns that are missing or of another type, before any row."""
    with reading(item, "Parquet") as place, item.data.open() as file:
        reader = open_file(file, _wanted(schema))
        _check_columns(item.name, reader.schema_arrow, schema)
        batch_rows = limits.batch_rows(row_bytes(item.name, reader.metadata, _wanted(schema), schema))
        names = [name for name in _wanted(schema) if name in reader.schema_arrow.names]
        first_row = 1
        for batch in reader.iter_batches(batch_size=batch_rows, columns=names):
            yield _raw_batch(item.name, first_row, batch, schema)
            first_row += batch.num_rows
            place.rows = first_row - 1
        if first_row - 1 != reader.metadata.num_rows:
            message = f"{item.name} holds {first_row - 1} rows; its footer says {reader.metadata.num_rows}."
            raise DropError("drop.unreadable", message, {"file": item.name})


def _wanted(schema: ImportSchema) -> list[str]:
    attributes = [name for name, _ in schema.attributes]
    return list(dict.fromkeys([schema.id_column, schema.vector_column, *attributes, SEARCHABLE_COLUMN]))


def open_file(file: BinaryIO, text_columns: list[str]) -> pq.ParquetFile:
    """A reader that trusts the file with little memory; texts in `text_columns` stay dictionaries."""
    metadata = _metadata(file)
    return pq.ParquetFile(
        file,
        metadata=metadata,
        read_dictionary=_text_leaves(metadata, text_columns),
        # Without pre-buffering a row group is streamed through a small buffer instead of being held whole.
        pre_buffer=False,
        buffer_size=READ_BUFFER_BYTES,
        page_checksum_verification=True,
        **THRIFT_LIMITS,
    )


def _metadata(file: BinaryIO) -> pq.FileMetaData:
    return pq.ParquetFile(file, **THRIFT_LIMITS).metadata


def _text_leaves(metadata: pq.FileMetaData, names: list[str]) -> list[str]:
    leaves = [metadata.schema.column(index) for index in range(len(metadata.schema.names))]
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.path.partition(".")[0] in names]


def _check_columns(file: str, found: pa.Schema, schema: ImportSchema) -> None:
    for name in (schema.id_column, schema.vector_column, *(name for name, _ in schema.attributes)):
        if found.names.count(name) != 1:
            raise missing_column(file, name, found.names, " (or has it twice)" if name in found.names else "")
    _check_id(file, schema, found.field(schema.id_column).type)
    _check_vector(file, schema, found.field(schema.vector_column).type)
    for name, type_name in schema.attributes:
        if not columns.accepts(type_name, found.field(name).type):
            raise _bad_type(file, name, found.field(name).type, type_name)
    if SEARCHABLE_COLUMN in found.names and not columns.accepts("bool", found.field(SEARCHABLE_COLUMN).type):
        raise _bad_type(file, SEARCHABLE_COLUMN, found.field(SEARCHABLE_COLUMN).type, "bool")


def _check_id(file: str, schema: ImportSchema, found: pa.DataType) -> None:
    fits = pa.types.is_integer(found) if schema.id_type == "int64" else columns.is_text(found)
    if not fits:
        # Arrow has several types of texts and of integers, a schema one of each.
        fitting = "string" if columns.is_text(found) else "int64" if pa.types.is_integer(found) else ""
        shown = "string" if fitting == "string" else str(found)
        raise bad_id_type(file, schema.id_column, found=shown, told=shown, expected=schema.id_type, fitting=fitting)


def _check_vector(file: str, schema: ImportSchema, found: pa.DataType) -> None:
    if not columns.is_vector(found):
        raise _bad_type(file, schema.vector_column, found, VECTOR_FORM)
    if pa.types.is_fixed_size_list(found) and found.list_size != schema.dimension:
        raise dimension_mismatch(file, found.list_size, schema.dimension)


def _bad_type(file: str, column: str, found: pa.DataType, expected: str) -> DropError:
    message = f"Column `{column}` of {file} is {found}; expected {expected}."
    details = {"file": file, "column": column, "found": str(found), "expected": expected}
    return DropError("drop.bad_column_type", message, details)


def row_bytes(file: str, metadata: pq.FileMetaData, wanted: list[str], schema: ImportSchema) -> int:
    """The decoded size of a row in the wanted columns, in the row group where it is greatest, by the footer."""
    most = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        leaves = [group.column(number) for number in range(group.num_columns)]
        leaves = [leaf for leaf in leaves if leaf.path_in_schema.partition(".")[0] in wanted]
        averages = {leaf.path_in_schema: leaf.num_values / max(1, group.num_rows) for leaf in leaves}
        _check_averages(file, averages, schema)
        most = max(most, int(sum(averages.values()) * LEAF_VALUE_BYTES))
    return most


def _check_averages(file: str, averages: dict[str, float], schema: ImportSchema) -> None:
    lists = [name for name, type_name in schema.attributes if type_name == "list<string>"]
    for path, average in averages.items():
        column = path.partition(".")[0]
        if column == schema.vector_column and average > AVERAGE_LENGTH_RATIO_MAX * schema.dimension:
            raise dimension_mismatch(file, round(average), schema.dimension)
        if column in lists and average > columns.LIST_LENGTH_MAX:
            message = f"The lists in column `{column}` of {file} have {average:.0f} elements on average."
            raise DropError("drop.too_large", message, {"file": file, "column": column})


def _raw_batch(file: str, first_row: int, batch: pa.RecordBatch, schema: ImportSchema) -> RawBatch:
    attributes: dict[str, pa.Array] = {}
    bad_cells = np.zeros(batch.num_rows, np.bool_)
    for name, type_name in schema.attributes:
        attributes[name], bad = columns.attribute(batch.column(name), type_name)
        bad_cells |= bad
    ids = columns.identifiers(batch.column(schema.id_column), schema.id_type)
    vectors, lengths = columns.vectors(batch.column(schema.vector_column), schema.dimension)
    return RawBatch(
        file=file,
        first_row=first_row,
        ids=ids,
        shown_ids=ids,
        vectors=vectors,
        lengths=lengths,
        attributes=attributes,
        searchable=_searchable(batch),
        bad_cells=bad_cells,
    )


def _searchable(batch: pa.RecordBatch) -> Flags:
    if SEARCHABLE_COLUMN not in batch.schema.names:
        return columns.all_true(batch.num_rows)
    searchable = columns.attribute(batch.column(SEARCHABLE_COLUMN), "bool").values
    flags: Flags = pc.fill_null(searchable, True).to_numpy(zero_copy_only=False)
    return flags
