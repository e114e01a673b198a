"""Items in csv with a header: id, attributes, and v0, v1, ... or one column `vector` with "[0.1,0.2]".

Every cell is read as text and typed here, so that a bad cell costs its row and not its file. An empty cell is
null. A row with more or fewer cells than the header counts as one whose vector has the wrong dimension.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from bundles import columns
from bundles.batches import (
    SEARCHABLE_COLUMN,
    BatchLimits,
    FileDescription,
    Flags,
    Float32,
    Int64,
    RawBatch,
    dimension_mismatch,
    missing_column,
    reading,
)
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.formats import cells
from bundles.schema import ImportSchema

IDS_APART = False
VECTOR_FORM = 'one column with a list in each cell, "[0.1, -0.2, ...]", or the columns v0, v1 and so on'

# Also the longest row. The reader has up to 32 blocks read ahead in a thread, where memory that is not there ends the
# process without a word: with 8 MiB an import capped at 320 MiB died so at an endless line, 7 times of 12, and with
# 2 MiB it once ran out of memory with a word.
BLOCK_BYTES = 1 << 20
HEADER_BYTES_MAX = 1 << 20
RAGGED_ROWS_MAX = 100_000
CELL_CHARACTERS_SHOWN = 60
NUMBERED = re.compile(r"^v(0|[1-9][0-9]*)$")


def count_rows(_item: ItemFile) -> int | None:
    """Only reading tells."""
    return None


def describe(item: ItemFile, rows: int) -> FileDescription:
    """Columns with guessed types and at most `rows` first rows.

    v0, v1, ... are gathered as `vector`, and texts that are lists of numbers are read as such.
    """
    with reading(item, "csv"), item.data.open() as file:
        names = _header(item, file)
        ragged = _Ragged()
        reader = _open(file, names, ragged, guess_types=True)
        batch = next(iter(reader), None)
        if ragged.rows and not (batch and batch.num_rows) and not _numbered(names):
            raise _all_ragged(item.name)
        table = pa.Table.from_batches([batch.slice(0, rows)] if batch is not None else [], reader.schema)
        return _gathered(_with_lists(table), _numbered(names))


def read(item: ItemFile, schema: ImportSchema, limits: BatchLimits) -> Iterator[RawBatch]:
    """All rows in order. Raises DropError for missing columns or another number of v columns, before any row."""
    with reading(item, "csv") as place, item.data.open() as file:
        names = _header(item, file)
        vector_names = _check_columns(item.name, names, schema)
        ragged = _Ragged(names.index(schema.id_column))
        reader = _open(file, names, ragged)
        if reader.schema.names != names:
            raise _unreadable(item.name, "has a header of more than one line")
        first_row = 1
        for cells_read in reader:
            for batch in _slices(cells_read, limits):
                if first_row == 1 and vector_names == [schema.vector_column]:
                    _check_lists(item.name, schema.vector_column, batch.column(schema.vector_column))
                placed = ragged.put_back(batch, first_row)
                yield _raw_batch(item.name, first_row, placed, vector_names, schema)
                first_row += placed.batch.num_rows
                place.rows = first_row - 1
        rest = ragged.put_back(_no_rows(names), first_row)
        if rest.batch.num_rows:
            if first_row == 1 and vector_names == [schema.vector_column]:
                raise _all_ragged(item.name)
            yield _raw_batch(item.name, first_row, rest, vector_names, schema)


@dataclass(frozen=True)
class _Placed:
    """Rows with the ragged ones back in their places as nulls; `surplus` [n] is cells too many, 0 for a good row."""

    batch: pa.RecordBatch
    surplus: Int64


class _RaggedRow(NamedTuple):
    number: int
    surplus: int
    id: str | None


@dataclass
class _Ragged:
    """Rows whose number of cells is not the header's: the reader leaves them out and tells us here."""

    id_index: int = 0
    rows: list[_RaggedRow] = field(default_factory=list)

    def __call__(self, row: arrow_csv.InvalidRow) -> str:
        if len(self.rows) >= RAGGED_ROWS_MAX:
            return "error"
        # The reader counts the header as row 1 and no empty lines; our rows begin after the header.
        surplus = row.actual_columns - row.expected_columns
        self.rows.append(_RaggedRow(row.number - 1, surplus, _cell(row.text, self.id_index)))
        return "skip"

    def put_back(self, batch: pa.RecordBatch, first_row: int) -> _Placed:
        """Puts in the ragged rows that lie before the last row of the batch; all of them when it has no rows."""
        before = [row.number - first_row - index for index, row in enumerate(self.rows)]
        taken = sum(1 for _ in takewhile(lambda place: place < batch.num_rows or not batch.num_rows, before))
        if not taken:
            return _Placed(batch, np.zeros(batch.num_rows, np.int64))
        rows, self.rows = self.rows[:taken], self.rows[taken:]
        order = np.insert(np.arange(batch.num_rows), before[:taken], -1)
        surplus = np.zeros(len(order), np.int64)
        surplus[order < 0] = [row.surplus for row in rows]
        placed = batch.take(pa.array(order, mask=order < 0))
        known = pa.array([row.id for row in rows], pa.large_string())
        row_ids = pc.replace_with_mask(placed.column(self.id_index), pa.array(order < 0), known)
        return _Placed(placed.set_column(self.id_index, placed.schema.field(self.id_index), row_ids), surplus)


def _cell(text: str, index: int) -> str | None:
    try:
        found = next(csv.reader([text]), [])
    except csv.Error:
        return None
    return found[index] if index < len(found) else None


def _header(item: ItemFile, file: BinaryIO) -> list[str]:
    line = file.readline(HEADER_BYTES_MAX)
    if len(line) >= HEADER_BYTES_MAX:
        raise _unreadable(item.name, f"has a header of {HEADER_BYTES_MAX} bytes or more")
    file.seek(0)
    try:
        names = next(csv.reader([line.decode("utf-8-sig")]), [])
    except csv.Error as error:
        raise _unreadable(item.name, f"has a damaged header: {error}") from error
    if not names:
        raise _unreadable(item.name, "is empty; csv needs a header")
    return names


def _open(
    file: BinaryIO, names: Sequence[str], ragged: _Ragged, guess_types: bool = False
) -> arrow_csv.CSVStreamingReader:
    return arrow_csv.open_csv(
        file,
        # One thread: only then does the reader know the number of a row that it leaves out.
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=ragged),
        convert_options=arrow_csv.ConvertOptions(
            column_types={} if guess_types else dict.fromkeys(names, pa.large_string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _check_columns(file: str, names: list[str], schema: ImportSchema) -> list[str]:
    """The columns that hold the vector: the one with its name, or v0, v1, ..."""
    for name in (schema.id_column, *(name for name, _ in schema.attributes)):
        if names.count(name) != 1:
            raise missing_column(file, name, names, " (or has it twice)" if name in names else "")
    if schema.vector_column in names:
        return [schema.vector_column]
    numbered = _numbered(names)
    if not numbered:
        raise missing_column(file, schema.vector_column, names, " and no v0, v1, ...")
    if len(numbered) != schema.dimension:
        raise dimension_mismatch(file, len(numbered), schema.dimension)
    return numbered


def _numbered(names: Sequence[str]) -> list[str]:
    """v0, v1, ... up to the first that is missing."""
    present = {name for name in names if NUMBERED.match(name)}
    return list(takewhile(present.__contains__, (f"v{index}" for index in range(len(names)))))


def _check_lists(file: str, column: str, found: pa.Array) -> None:
    """A file that begins with vectors none of which is written as a list is no matter of single rows."""
    present = found.drop_null()
    if not len(present) or cells.are_lists(present).any():
        return
    shown = present[0].as_py()[:CELL_CHARACTERS_SHOWN]
    message = f"Column `{column}` of {file} holds {json.dumps(shown, ensure_ascii=False)}; expected {VECTOR_FORM}."
    details = {"file": file, "column": column, "found": shown, "expected": VECTOR_FORM}
    raise DropError("drop.bad_column_type", message, details)


def _slices(batch: pa.RecordBatch, limits: BatchLimits) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, limits.rows):
        yield batch.slice(start, limits.rows)


def _no_rows(names: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], pa.large_string())] * len(names), list(names))


def _raw_batch(file: str, first_row: int, placed: _Placed, vector_names: list[str], schema: ImportSchema) -> RawBatch:
    batch = placed.batch
    attributes: dict[str, pa.Array] = {}
    bad_cells = np.zeros(batch.num_rows, np.bool_)
    for name, type_name in schema.attributes:
        found, unreadable = cells.READERS[type_name](batch.column(name))
        attributes[name], bad = columns.attribute(found, type_name)
        bad_cells |= unreadable | bad
    searchable, bad = _searchable(batch)
    vectors, lengths = _vectors(batch, vector_names, schema)
    return RawBatch(
        file=file,
        first_row=first_row,
        ids=_ids(batch.column(schema.id_column), schema.id_type),
        shown_ids=batch.column(schema.id_column),
        vectors=vectors,
        lengths=np.where(placed.surplus != 0, _ragged_lengths(placed, vector_names), lengths),
        attributes=attributes,
        searchable=searchable,
        bad_cells=bad_cells | bad,
    )


def _ids(column: pa.Array, id_type: str) -> pa.Array:
    return columns.identifiers(cells.integers(column).values if id_type == "int64" else column, id_type)


def _searchable(batch: pa.RecordBatch) -> tuple[Flags, Flags]:
    if SEARCHABLE_COLUMN not in batch.schema.names:
        return columns.all_true(batch.num_rows), np.zeros(batch.num_rows, np.bool_)
    found, bad = cells.booleans(batch.column(SEARCHABLE_COLUMN))
    flags: Flags = pc.fill_null(found, True).to_numpy(zero_copy_only=False)
    return flags, bad


def _vectors(batch: pa.RecordBatch, vector_names: list[str], schema: ImportSchema) -> tuple[Float32, Int64]:
    if vector_names == [schema.vector_column]:
        return columns.vectors(cells.number_lists(batch.column(vector_names[0])), schema.dimension)
    found = np.empty((batch.num_rows, schema.dimension), np.float32)
    with np.errstate(over="ignore"):
        # A number beyond float32 becomes infinity, which is a bad row like any other infinity.
        for index, name in enumerate(vector_names):
            found[:, index] = cells.components(batch.column(name)).to_numpy()
    return found, np.full(batch.num_rows, schema.dimension, np.int64)


def _ragged_lengths(placed: _Placed, vector_names: list[str]) -> Int64:
    """What the dimension of a ragged row seems to be; never the right one."""
    if len(vector_names) == 1:
        # One column, a text or v0 alone: no other number of cells says anything about a vector.
        return np.zeros(len(placed.surplus), np.int64)
    return np.maximum(0, len(vector_names) + placed.surplus)


def _unreadable(file: str, why: str) -> DropError:
    return DropError("drop.unreadable", f"{file} {why}.", {"file": file})


def _all_ragged(file: str) -> DropError:
    return _unreadable(file, 'has no row with as many cells as its header; quote vectors: "[0.1,0.2]"')


def _with_lists(table: pa.Table) -> pa.Table:
    for index, name in enumerate(table.column_names):
        column = table.column(index).combine_chunks()
        if columns.is_text(column.type) and cells.hold_vectors(column):
            table = table.set_column(index, name, cells.number_lists(column))
    return table


def _gathered(table: pa.Table, numbered: list[str]) -> FileDescription:
    if not numbered or "vector" in table.column_names:
        return FileDescription(table.schema, table)
    numbers = [table[name].cast(pa.float32(), safe=False).to_numpy() for name in numbered]
    flat = pa.array(np.stack(numbers, axis=1).reshape(-1), pa.float32())
    vector = pa.FixedSizeListArray.from_arrays(flat, len(numbered))
    table = table.drop_columns(numbered).append_column("vector", vector)
    return FileDescription(table.schema, table)
