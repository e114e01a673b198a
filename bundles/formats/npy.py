"""Items in NumPy's npy: a matrix of float16, float32 or float64, and beside it a file with its integer ids.

The header is read with NumPy's own parser, never a pickle; its shape must account for every byte of the file,
so that a lying header allocates nothing. Rows are read, not mapped: a mapped file that is cut short while it is
read would kill the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy_format

from bundles import columns
from bundles.batches import (
    BatchLimits,
    FileDescription,
    Float32,
    RawBatch,
    dimension_mismatch,
    missing_column,
    reading,
)
from bundles.errors import DropError
from bundles.files import DropFile, ItemFile
from bundles.schema import ImportSchema

IDS_APART = True
VECTOR_FORM = "floats of shape [rows, dimension]"

HEADER_BYTES_MAX = 10_000
VECTOR_ITEM_BYTES = (2, 4, 8)
TEXT_KINDS = "US"
PICKLE_START = b"\x80"
# What NumPy's parser raises for damaged headers.
HEADER_ERRORS = (ValueError, TypeError, SyntaxError, RecursionError, TokenError)


@dataclass(frozen=True)
class Header:
    """What an npy file says of itself, checked against its size."""

    file: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    data_offset: int


def count_rows(item: ItemFile) -> int | None:
    """Rows by the header."""
    with reading(item, "npy"), item.data.open() as file:
        return _vectors_header(item.data, file).shape[0]


def describe(item: ItemFile, rows: int) -> FileDescription:
    """Columns `id` and `vector`, and at most `rows` first rows."""
    with reading(item, "npy"), item.data.open() as file, _ids(item).open() as id_file:
        header, id_header = _headers(item, file, id_file)
        count, dimension = header.shape
        rows = min(rows, count)
        numbers = _rows(file, header, 0, rows).astype(np.float32)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), dimension)
        ids = pa.array(_rows(id_file, id_header, 0, rows))
        schema = pa.schema([("id", ids.type), ("vector", vectors.type)])
        return FileDescription(schema, pa.Table.from_arrays([ids, vectors], schema=schema))


def read(item: ItemFile, schema: ImportSchema, limits: BatchLimits) -> Iterator[RawBatch]:
    """All rows in order. Raises DropError for ids, attributes or a dimension that the schema does not expect."""
    _check_schema(item, schema)
    with reading(item, "npy") as place, item.data.open() as file, _ids(item).open() as id_file:
        header, id_header = _headers(item, file, id_file)
        count, dimension = header.shape
        if dimension != schema.dimension:
            raise dimension_mismatch(item.name, dimension, schema.dimension)
        step = limits.batch_rows(dimension * max(4, header.dtype.itemsize))
        for start in range(0, count, step):
            place.rows = start
            stop = min(start + step, count)
            ids = _rows(id_file, id_header, start, stop)
            with np.errstate(over="ignore"):
                # A float64 beyond float32 becomes infinity, which is a bad row like any other infinity.
                vectors = _rows(file, header, start, stop).astype(np.float32)
            yield _raw_batch(item.name, start, ids, vectors)


def _raw_batch(file: str, start: int, ids: np.ndarray[Any, Any], vectors: Float32) -> RawBatch:
    count, dimension = vectors.shape
    shown = pa.array(ids)
    return RawBatch(
        file=file,
        first_row=start + 1,
        ids=columns.identifiers(shown, "int64"),
        shown_ids=shown,
        vectors=vectors,
        lengths=np.full(count, dimension, np.int64),
        attributes={},
        searchable=columns.all_true(count),
        bad_cells=np.zeros(count, np.bool_),
    )


def _check_schema(item: ItemFile, schema: ImportSchema) -> None:
    if schema.attributes:
        raise missing_column(item.name, schema.attributes[0][0], ["id", "vector"], " (npy carries no attributes)")
    if schema.id_type != "int64":
        raise _no_text_ids(_ids(item).name, f"The schema says ids are {schema.id_type}")


def _ids(item: ItemFile) -> DropFile:
    if item.ids is None:
        raise DropError("drop.not_found", f"{item.name} has no file with its ids.", {"file": item.name})
    return item.ids


def _headers(item: ItemFile, file: BinaryIO, id_file: BinaryIO) -> tuple[Header, Header]:
    header = _vectors_header(item.data, file)
    id_header = _header(_ids(item), id_file)
    if id_header.dtype.kind in TEXT_KINDS:
        raise _no_text_ids(id_header.file, f"{id_header.file} holds text ({id_header.dtype})")
    if id_header.dtype.kind not in "iu" or len(id_header.shape) != 1:
        found = f"{id_header.dtype} of shape {id_header.shape}"
        raise _bad_ids(id_header.file, f"expected one column of integers, found {found}", "int64")
    if id_header.shape[0] != header.shape[0]:
        message = f"{id_header.file} has {id_header.shape[0]} ids for {header.shape[0]} rows in {item.name}."
        raise DropError("drop.count_mismatch", message, {"file": id_header.file})
    return header, id_header


def _no_text_ids(file: str, why: str) -> DropError:
    message = f"{why}, and npy carries integer ids only. Deliver items with text ids as Parquet or CSV."
    return DropError("drop.bad_id_type", message, {"file": file, "expected": "int64"})


def _bad_ids(file: str, why: str, expected: str) -> DropError:
    message = f"The ids in {file} cannot be {expected}: {why}."
    return DropError("drop.bad_id_type", message, {"file": file, "expected": expected})


def _vectors_header(data: DropFile, file: BinaryIO) -> Header:
    header = _header(data, file)
    floats = header.dtype.kind == "f" and header.dtype.itemsize in VECTOR_ITEM_BYTES
    if not floats or len(header.shape) != 2 or header.shape[1] == 0:
        found = f"{header.dtype} of shape {header.shape}"
        message = f"{data.name} holds {found}; expected {VECTOR_FORM}."
        raise DropError("drop.bad_column_type", message, {"file": data.name, "found": str(header.dtype)})
    return header


def _header(data: DropFile, file: BinaryIO) -> Header:
    """Raises DropError: drop.unsafe_npy for objects, drop.unreadable for a header that is damaged or lies."""
    try:
        shape, fortran_order, dtype = _parse_header(file)
    except HEADER_ERRORS as error:
        data.check_unchanged()
        file.seek(0)
        if file.read(1) == PICKLE_START:
            raise _pickled(data.name) from error
        message = f"{data.name} is not an npy file: {error}"
        raise DropError("drop.unreadable", message, {"file": data.name}) from error
    if dtype.hasobject:
        raise _pickled(data.name)
    header = Header(data.name, dtype, shape, fortran_order, file.tell())
    size = header.data_offset + prod(shape) * dtype.itemsize
    if size != data.bytes:
        message = f"{data.name} has {data.bytes} bytes; its header ({dtype}, {shape}) needs {size}."
        raise DropError("drop.unreadable", message, {"file": data.name})
    return header


def _pickled(file: str) -> DropError:
    message = f"{file} holds Python objects (a pickle), which are never loaded; save plain numbers. "
    message += "Text ids go into Parquet or CSV."
    return DropError("drop.unsafe_npy", message, {"file": file})


def _parse_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(file)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"npy version {version[0]}.{version[1]} is not read here")
    shape, fortran_order, dtype = readers[version](file, max_header_size=HEADER_BYTES_MAX)
    if any(length < 0 for length in shape):
        raise ValueError(f"the shape {shape} is negative")
    return shape, fortran_order, dtype


def _rows(file: BinaryIO, header: Header, start: int, stop: int) -> np.ndarray[Any, Any]:
    """Rows start to stop of a matrix or a column, in the file's own dtype."""
    width = prod(header.shape[1:])
    if not header.fortran_order or width == 1:
        return _numbers(file, header, start * width, (stop - start) * width).reshape(-1, *header.shape[1:])
    columns_of_rows = [_numbers(file, header, each * header.shape[0] + start, stop - start) for each in range(width)]
    return np.stack(columns_of_rows, axis=1)


def _numbers(file: BinaryIO, header: Header, first: int, count: int) -> np.ndarray[Any, Any]:
    size = header.dtype.itemsize
    file.seek(header.data_offset + first * size)
    payload = file.read(count * size)
    if len(payload) != count * size:
        raise EOFError("the file ends before its last row")
    numbers = np.frombuffer(payload, header.dtype)
    return numbers.astype(header.dtype.newbyteorder("="), copy=False)
