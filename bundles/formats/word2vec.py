"""Items in word2vec's text form: a line for each with its id and its numbers, separated by blanks.

The first line may say `count dimension`; it is taken for that when it is two whole numbers, so items of dimension 1
need it. It carries no attributes, and an id holds no blank. Every line is read by itself, so that a bad one costs its
row and not its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from bundles import columns
from bundles.batches import (
    BatchLimits,
    FileDescription,
    Float32,
    Int64,
    RawBatch,
    dimension_mismatch,
    missing_column,
    reading,
)
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.formats import cells, lines
from bundles.schema import ImportSchema

IDS_APART = False
VECTOR_FORM = "numbers after the id, separated by blanks: `17 0.1 -0.2 ...`"

FLOAT32_BYTES = 4
COUNT_DIGITS_MAX = 18


class Header(NamedTuple):
    rows: int
    dimension: int


def count_rows(item: ItemFile) -> int | None:
    """Rows by the header, None when there is none."""
    with reading(item, "word2vec text"), item.data.open() as file:
        header, _ = _begin(file)
        return header.rows if header else None


def describe(item: ItemFile, rows: int) -> FileDescription:
    """Columns `id` and `vector`, and at most `rows` first rows of the most common length."""
    with reading(item, "word2vec text"), item.data.open() as file:
        header, found = _begin(file)
        sample = next(lines.batches(found, BatchLimits(rows=max(1, rows)), 1), [])
        parts = [line.split() for line in sample if line is not lines.TOO_LONG]
        lengths = Counter(len(each) - 1 for each in parts)
        dimension = header.dimension if header else lengths.most_common(1)[0][0] if lengths else 0
        if dimension < 1:
            message = f"{item.name} holds no items; expected {VECTOR_FORM}."
            raise DropError("drop.empty", message, {"file": item.name})
        fitting = [each for each in parts if len(each) - 1 == dimension]
        numbers = np.array([_numbers(each[1:]) for each in fitting], np.float32).reshape(-1)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), dimension)
        table = pa.table({"id": _guessed_ids([each[0] for each in fitting]), "vector": vectors})
        return FileDescription(table.schema, table)


def read(item: ItemFile, schema: ImportSchema, limits: BatchLimits) -> Iterator[RawBatch]:
    """All rows in order. Raises DropError for attributes and another dimension, before any row, and a wrong count."""
    if schema.attributes:
        what = " (word2vec text carries no attributes)"
        raise missing_column(item.name, schema.attributes[0][0], ["id", "vector"], what)
    with reading(item, "word2vec text") as place, item.data.open() as file:
        header, found = _begin(file)
        if header and header.dimension != schema.dimension:
            raise dimension_mismatch(item.name, header.dimension, schema.dimension)
        first_row = 1
        for batch in lines.batches(found, limits, schema.dimension * FLOAT32_BYTES):
            yield _raw_batch(item.name, first_row, batch, schema)
            first_row += len(batch)
            place.rows = first_row - 1
        if header and header.rows != first_row - 1:
            message = f"{item.name} holds {first_row - 1} rows; its first line says {header.rows}."
            details = {"file": item.name, "expected": header.rows, "found": first_row - 1}
            raise DropError("drop.count_mismatch", message, details)


def _begin(file: BinaryIO) -> tuple[Header | None, Iterator[bytes]]:
    """The header, if there is one, and the lines with items."""
    header = _header(next(lines.read_lines(file), b""))
    file.seek(0)
    found = lines.read_lines(file)
    if header:
        next(found)
    return header, found


def _header(line: bytes) -> Header | None:
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() and len(part) <= COUNT_DIGITS_MAX for part in parts):
        return None
    return Header(int(parts[0]), int(parts[1]))


def _raw_batch(file: str, first_row: int, batch: Sequence[bytes], schema: ImportSchema) -> RawBatch:
    parts = [line.split() for line in batch]
    ids = pa.array([_text(each[0]) if each else None for each in parts], pa.large_string())
    vectors, lengths = _vectors(parts, schema.dimension)
    typed = cells.integers(ids).values if schema.id_type == "int64" else ids
    return RawBatch(
        file=file,
        first_row=first_row,
        ids=columns.identifiers(typed, schema.id_type),
        shown_ids=ids,
        vectors=vectors,
        lengths=lengths,
        attributes={},
        searchable=columns.all_true(len(parts)),
        bad_cells=np.zeros(len(parts), np.bool_),
        bad_lines=np.fromiter((not each for each in parts), np.bool_, len(parts)),
    )


def _vectors(parts: Sequence[Sequence[bytes]], dimension: int) -> tuple[Float32, Int64]:
    """As `columns.vectors`; what is no number is NaN."""
    vectors = np.zeros((len(parts), dimension), np.float32)
    lengths = np.fromiter((max(0, len(each) - 1) for each in parts), np.int64, len(parts))
    with np.errstate(over="ignore"):
        # A number beyond float32 becomes infinity, which is a bad row like any other infinity.
        for index, each in enumerate(parts):
            if lengths[index] == dimension:
                vectors[index] = _numbers(each[1:])
    return vectors, lengths


def _numbers(parts: Sequence[bytes]) -> list[float]:
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return [_number_or_nan(part) for part in parts]
    # Python reads 1_0 as 10.
    return numbers if not any(b"_" in part for part in parts) else [_number_or_nan(part) for part in parts]


def _number_or_nan(part: bytes) -> float:
    try:
        return np.nan if b"_" in part else float(part)
    except ValueError:
        return np.nan


def _text(octets: bytes) -> str | None:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def _guessed_ids(found: Sequence[bytes]) -> pa.Array:
    texts = pa.array([_text(each) for each in found], pa.string())
    integers = cells.integers(texts.cast(pa.large_string())).values
    return texts if integers.null_count else integers
