"""Items in JSON Lines: one object a line with the id, the vector as a list of numbers, and attributes by their names.

Every line is read by itself, so that a bad one costs its row and not its file. Blank lines are no rows. A key that a
line lacks is null; a key that none of a file's first lines has is a missing column. Values keep their JSON types: "7"
is a text and no number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bundles import columns
from bundles.batches import (
    SEARCHABLE_COLUMN,
    BatchLimits,
    FileDescription,
    Float32,
    Int64,
    RawBatch,
    bad_id_type,
    missing_column,
    reading,
)
from bundles.columns import Typed
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.formats import lines
from bundles.formats.cells import INT64_MAX, INT64_MIN
from bundles.schema import ATTRIBUTE_TYPES, ImportSchema

IDS_APART = False
VECTOR_FORM = 'a list of numbers, {"id": 1, "vector": [0.1, -0.2, ...]}'

# How JSON writes ids of each type.
KINDS = {"int64": int, "string": str}
FLOAT32_BYTES = 4
SHOWN_CHARACTERS_MAX = 60

Row = dict[str, Any]


def count_rows(_item: ItemFile) -> int | None:
    """Only reading tells."""
    return None


def describe(item: ItemFile, rows: int) -> FileDescription:
    """Columns with guessed types and at most `rows` first rows; values of several types are shown as JSON."""
    with reading(item, "jsonl"), item.data.open() as file:
        sample = next(lines.batches(lines.read_lines(file), BatchLimits(rows=max(1, rows)), 1), [])
        found = [row for row in map(_row, sample) if row is not None]
        if not found:
            raise _no_objects(item.name)
        names = dict.fromkeys(name for row in found for name in row if _is_text(name))
        table = pa.table({name: _guessed([row.get(name) for row in found]) for name in names})
        return FileDescription(table.schema, table)


def read(item: ItemFile, schema: ImportSchema, limits: BatchLimits) -> Iterator[RawBatch]:
    """All rows in order. Raises DropError, before any row, for what is wrong with every one of the first lines."""
    with reading(item, "jsonl") as place, item.data.open() as file:
        first_row = 1
        for batch in lines.batches(lines.read_lines(file), limits, schema.dimension * FLOAT32_BYTES):
            rows = [_row(line) for line in batch]
            if first_row == 1:
                _check_first(item.name, [row for row in rows if row is not None], schema)
            yield _raw_batch(item.name, first_row, rows, schema)
            first_row += len(rows)
            place.rows = first_row - 1


def _row(line: bytes) -> Row | None:
    """None for what is no JSON object in UTF-8."""
    try:
        found = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _check_first(file: str, rows: Sequence[Row], schema: ImportSchema) -> None:
    """A file that begins with lines none of which is right is no matter of single rows."""
    if not rows:
        raise _no_objects(file)
    found = dict.fromkeys(name for row in rows for name in row)
    for name in (schema.id_column, schema.vector_column, *(name for name, _ in schema.attributes)):
        if name not in found:
            raise missing_column(file, name, list(found), f" in any of its first {len(rows)} lines")
    _check_ids(file, rows, schema)
    given = [row[schema.vector_column] for row in rows if row.get(schema.vector_column) is not None]
    if given and not any(isinstance(vector, list) for vector in given):
        shown = json.dumps(given[0])[:SHOWN_CHARACTERS_MAX]
        message = f"`{schema.vector_column}` in {file} is {shown}; expected {VECTOR_FORM}."
        details = {"file": file, "column": schema.vector_column, "found": shown, "expected": VECTOR_FORM}
        raise DropError("drop.bad_column_type", message, details)


def _check_ids(file: str, rows: Sequence[Row], schema: ImportSchema) -> None:
    given = [row[schema.id_column] for row in rows if row.get(schema.id_column) is not None]
    kind = KINDS[schema.id_type]
    if given and not any(type(each) is kind for each in given):
        fitting = next((name for name, other in KINDS.items() if all(type(each) is other for each in given)), "")
        shown = json.dumps(given[0])[:SHOWN_CHARACTERS_MAX]
        raise bad_id_type(
            file, schema.id_column, found=shown, told=f"like {shown}", expected=schema.id_type, fitting=fitting
        )


def _no_objects(file: str) -> DropError:
    message = f"{file} does not begin with JSON Lines; expected one object a line, with {VECTOR_FORM}."
    return DropError("drop.unreadable", message, {"file": file})


def _raw_batch(file: str, first_row: int, rows: Sequence[Row | None], schema: ImportSchema) -> RawBatch:
    bad_lines = np.fromiter((row is None for row in rows), np.bool_, len(rows))
    present = [row or {} for row in rows]
    attributes: dict[str, pa.Array] = {}
    bad_cells = np.zeros(len(rows), np.bool_)
    for name, type_name in schema.attributes:
        cells, unreadable = _typed([row.get(name) for row in present], type_name)
        attributes[name], bad = columns.attribute(cells, type_name)
        bad_cells |= unreadable | bad
    searchable, bad = _typed([row.get(SEARCHABLE_COLUMN) for row in present], "bool")
    vectors, lengths = _vectors([row.get(schema.vector_column) for row in present], schema.dimension)
    row_ids = [row.get(schema.id_column) for row in present]
    # The types of ids are those of attributes, but that an id is never a number with a fraction.
    wanted = [None if type(each) is float else each for each in row_ids]
    return RawBatch(
        file=file,
        first_row=first_row,
        ids=columns.identifiers(_typed(wanted, schema.id_type).values, schema.id_type),
        shown_ids=_shown(row_ids),
        vectors=vectors,
        lengths=lengths,
        attributes=attributes,
        searchable=searchable.fill_null(True).to_numpy(zero_copy_only=False),
        bad_cells=bad_cells | bad,
        bad_lines=bad_lines,
    )


def _vectors(found: Sequence[Any], dimension: int) -> tuple[Float32, Int64]:
    """As `columns.vectors`; what is no list has length 0, what is no number in it is NaN."""
    vectors = np.zeros((len(found), dimension), np.float32)
    lengths = np.zeros(len(found), np.int64)
    with np.errstate(over="ignore"):
        # A number beyond float32 becomes infinity, which is a bad row like any other infinity.
        for index, vector in enumerate(found):
            lengths[index] = -1 if vector is None else len(vector) if isinstance(vector, list) else 0
            if lengths[index] == dimension:
                vectors[index] = _numbers(vector)
    return vectors, lengths


def _numbers(vector: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    if set(map(type, vector)) <= {int, float}:
        try:
            return np.array(vector, np.float64)
        except OverflowError:
            # A whole number beyond float64.
            pass
    return np.array([_number_or_nan(each) for each in vector], np.float64)


def _number_or_nan(value: Any) -> float:
    try:
        return _float(value)
    except (ValueError, OverflowError):
        return np.nan


def _typed(found: Sequence[Any], type_name: str) -> Typed:
    """A column of the attribute type, null where the value is null or (`bad`) no such value."""
    read = READERS[type_name]
    values: list[Any] = []
    bad = np.zeros(len(found), np.bool_)
    for index, value in enumerate(found):
        try:
            values.append(None if value is None else read(value))
        except (TypeError, ValueError, OverflowError):
            values.append(None)
            bad[index] = True
    return Typed(pa.array(values, ATTRIBUTE_TYPES[type_name]), bad)


def _text(value: Any) -> str:
    if not _is_text(value):
        raise ValueError(value)
    return str(value)


def _is_text(value: Any) -> bool:
    """JSON can write half of a surrogate pair, which is no text."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(value: Any) -> int | None:
    if type(value) is float:
        if np.isnan(value):
            return None
        if not value.is_integer():
            raise ValueError(value)
        value = int(value)
    if type(value) is not int or not INT64_MIN <= value <= INT64_MAX:
        raise ValueError(value)
    return value


def _float(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(value)
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(value)
    return [_text(each) for each in value]


READERS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "int64": _integer,
    "float64": _float,
    "bool": _boolean,
    "list<string>": _texts,
}


def _shown(row_ids: Sequence[Any]) -> pa.Array:
    """Ids as they are in the file, for the report: as numbers when all of them are, else as texts."""
    try:
        return pa.array(row_ids, pa.int64())
    except (pa.ArrowException, OverflowError):
        # An id in its own words, but for what is no text and what is long.
        texts = [each if each is None or _is_text(each) else json.dumps(each) for each in row_ids]
        return pa.array([each and each[: columns.TEXT_BYTES_MAX] for each in texts], pa.large_string())


def _guessed(found: Sequence[Any]) -> pa.Array:
    given = [each for each in found if each is not None]
    if given and all(isinstance(each, list) and set(map(type, each)) <= {int, float} for each in given):
        numbers = [None if each is None else list(map(_number_or_nan, each)) for each in found]
        return pa.array(numbers, pa.list_(pa.float64()))
    try:
        return pa.array(found)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.array([None if each is None else json.dumps(each) for each in found], pa.string())
