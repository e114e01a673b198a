"""Vocabularies: what number the model knows a value by. A Parquet file of the drop becomes sorted arrays, once.

In the drop: a column `value` (integers or texts) and a column `index` (integers from 0). In the artifact: sorted 64-bit
keys, their places, and the numbers; the texts themselves only where values are texts (`bundles.ids` says why).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from bundles import columns, ids
from bundles.batches import DEFAULT_LIMITS, Int64, missing_column, reading
from bundles.errors import DropError
from bundles.files import DropFile, ItemFile
from bundles.formats import parquet
from querymodel.errors import ModelRefused

VALUE_COLUMN, INDEX_COLUMN = "value", "index"
ENTRIES_MAX = 50_000_000
INDEX_MAX = 2**31 - 1
KEYS, PLACES, NUMBERS, TEXTS = "keys.npy", "places.npy", "numbers.npy", "texts.arrow"
SHOWN_MAX = 5


class Vocabulary:
    """An opened vocabulary; arrays are mapped."""

    def __init__(self, keys: Int64, places: Int64, numbers: Int64, texts: pa.Array | None) -> None:
        self._keys, self._places, self._numbers, self._texts = keys, places, numbers, texts

    def __len__(self) -> int:
        return len(self._numbers)

    @classmethod
    def open(cls, folder: Path) -> Vocabulary:
        """Raises OSError, ValueError or pa.ArrowException for files that `write` did not make."""
        keys, places, numbers = (
            np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in (KEYS, PLACES, NUMBERS)
        )
        path = folder / TEXTS
        texts = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column(0).chunk(0) if path.is_file() else None
        return cls(np.asarray(keys), np.asarray(places), np.asarray(numbers), texts)

    @property
    def kind(self) -> str:
        """The type of its values: int64 or string."""
        return "int64" if self._texts is None else "string"

    def numbers_of(self, values: Sequence[int] | Sequence[str]) -> Int64:
        """The number of each value, -1 for one that is not in it; values of the vocabulary's own type."""
        if not values:
            return np.empty(0, np.int64)
        if self._texts is None:
            places = ids.find_integers(self._keys, self._places, np.asarray(values, np.int64))
        else:
            wanted = pa.array(values, pa.large_string())
            places = ids.find_texts(self._keys, self._places, self._texts, wanted)
        return np.where(places >= 0, self._numbers[places], -1)

    def some(self, count: int) -> list[int] | list[str]:
        """The first `count` values, to try a model with."""
        if self._texts is not None:
            texts: list[str] = self._texts.slice(0, count).to_pylist()
            return texts
        numbers: list[int] = np.asarray(self._keys[:count]).tolist()
        return numbers


def write(file: DropFile, value_type: str, folder: Path) -> int:
    """Reads a drop's vocabulary into `folder`, which exists; returns how many values it has.

    `value_type` is int64 or string, as the input says. Raises DropError for a file that cannot be read, ModelRefused
    drop.bad_vocabulary for one that is no vocabulary.
    """
    values, numbers = _read(file, value_type)
    texts = values if value_type == "string" else None
    keys = ids.text_keys(values) if texts is not None else values.to_numpy(zero_copy_only=False)
    arranged = ids.arrange(keys, np.ones(len(keys), np.bool_), texts)
    if not arranged.kept.all():
        repeated = [str(each) for each in values.take(pa.array(np.flatnonzero(~arranged.kept)[:SHOWN_MAX])).to_pylist()]
        raise _bad(file.name, f"has values more than once: {', '.join(repeated)}")
    np.save(folder / KEYS, arranged.keys, allow_pickle=False)
    np.save(folder / PLACES, arranged.rows, allow_pickle=False)
    np.save(folder / NUMBERS, numbers, allow_pickle=False)
    if texts is not None:
        with pa.OSFile(str(folder / TEXTS), "wb") as sink, pa.ipc.new_file(sink, _TEXTS_SCHEMA) as writer:
            writer.write_batch(pa.record_batch([texts], schema=_TEXTS_SCHEMA))
    return len(values)


_TEXTS_SCHEMA = pa.schema([("value", pa.large_string())])


def _read(file: DropFile, value_type: str) -> tuple[pa.Array, Int64]:
    """The values (int64 or large_string, no nulls) and their numbers, int64 [n]."""
    item = ItemFile(file)
    values: list[pa.Array] = []
    numbers: list[Int64] = []
    rows = 0
    with reading(item, "Parquet") as place, file.open() as source:
        reader = parquet.open_file(source, [VALUE_COLUMN])
        _check_columns(file.name, reader.schema_arrow, value_type)
        if reader.metadata.num_rows > ENTRIES_MAX:
            raise _bad(file.name, f"has {reader.metadata.num_rows} rows; at most {ENTRIES_MAX} are read")
        batches = reader.iter_batches(batch_size=DEFAULT_LIMITS.rows, columns=[VALUE_COLUMN, INDEX_COLUMN])
        for batch in batches:
            values.append(_values(file.name, batch.column(VALUE_COLUMN), value_type, rows))
            numbers.append(_numbers(file.name, batch.column(INDEX_COLUMN), rows))
            rows += batch.num_rows
            place.rows = rows
    if not rows:
        raise _bad(file.name, "is empty")
    kind = pa.int64() if value_type == "int64" else pa.large_string()
    return pa.concat_arrays([each.cast(kind) for each in values]), np.concatenate(numbers)


def _check_columns(file: str, found: pa.Schema, value_type: str) -> None:
    for name in (VALUE_COLUMN, INDEX_COLUMN):
        if found.names.count(name) != 1:
            raise missing_column(file, name, found.names)
    value, index = found.field(VALUE_COLUMN).type, found.field(INDEX_COLUMN).type
    fits = pa.types.is_integer(value) if value_type == "int64" else columns.is_text(value)
    if not fits:
        raise _bad_type(file, VALUE_COLUMN, value, f"{value_type}, as the input says")
    if not pa.types.is_integer(index):
        raise _bad_type(file, INDEX_COLUMN, index, "integers")


def _values(file: str, column: pa.Array, value_type: str, before: int) -> pa.Array:
    found = columns.integers(column).values if value_type == "int64" else columns.texts(column).values
    if found.null_count:
        row = before + 1 + int(np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0])
        raise _bad(file, f"has no readable value in row {row}")
    return found


def _numbers(file: str, column: pa.Array, before: int) -> Int64:
    found = columns.integers(column).values.fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((found < 0) | (found > INDEX_MAX))
    if len(wrong):
        raise _bad(file, f"has no index from 0 to {INDEX_MAX} in row {before + 1 + int(wrong[0])}")
    return np.asarray(found, np.int64)


def _bad_type(file: str, column: str, found: pa.DataType, expected: str) -> DropError:
    message = f"Column `{column}` of {file} is {found}; expected {expected}."
    return DropError("drop.bad_column_type", message, {"file": file, "column": column, "found": str(found)})


def _bad(file: str, what: str) -> ModelRefused:
    return ModelRefused("drop.bad_vocabulary", f"The vocabulary {file} {what}.")
