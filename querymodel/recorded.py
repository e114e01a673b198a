"""Recorded features: the first rows of a drop's queries, one column for each input, kept as they were sent.

In the artifact they are an Arrow file with one list column for each input, so that warm-up and comparison ask what a
caller would. A column of single values is read as lists of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from bundles import columns
from bundles.batches import missing_column, reading
from bundles.errors import DropError
from bundles.files import DropFile, ItemFile
from bundles.formats import parquet
from querymodel.spec import Feature, Features, Kind, ModelInput, ModelSpec

ROWS_MAX = 1_000
BATCH_ROWS = 50
VECTOR_COLUMN = "vector"
_STORED: dict[Kind, pa.DataType] = {
    "ints": pa.large_list(pa.int64()),
    "floats": pa.large_list(pa.float32()),
    "strings": pa.large_list(pa.large_string()),
}
_KINDS: dict[pa.DataType, Kind] = {stored: kind for kind, stored in _STORED.items()}


def read_drop(file: DropFile, spec: ModelSpec) -> list[Features]:
    """At most ROWS_MAX rows without a null; none when the file has no columns of features.

    Raises DropError: drop.unreadable, drop.missing_column (when it has some of them, and no vectors either),
    drop.bad_column_type.
    """
    item = ItemFile(file)
    names = [each.name for each in spec.inputs]
    found: list[Features] = []
    with reading(item, "Parquet") as place, file.open() as source:
        reader = parquet.open_file(source, names)
        if not _has_features(file.name, reader.schema_arrow, names):
            return []
        for described in spec.inputs:
            _check_column(file.name, reader.schema_arrow.field(described.name).type, described)
        for batch in reader.iter_batches(batch_size=BATCH_ROWS, columns=names, use_threads=False):
            found += _rows(batch, spec)
            place.rows += batch.num_rows
            if len(found) >= ROWS_MAX:
                break
    return found[:ROWS_MAX]


def write(rows: Sequence[Features], spec: ModelSpec, path: Path) -> None:
    """Raises OSError."""
    fields = [pa.field(each.name, _STORED[each.kind]) for each in spec.inputs]
    arrays = [pa.array([row[field.name].values for row in rows], field.type) for field in fields]
    schema = pa.schema(fields)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))


def read(path: Path) -> list[Features]:
    """What `write` wrote. Raises OSError, KeyError or pa.ArrowException for something else."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        kinds = {field.name: _KINDS[field.type] for field in table.schema}
        values = {name: table.column(name).to_pylist() for name in kinds}
    return [{name: Feature(kind, values[name][row]) for name, kind in kinds.items()} for row in range(table.num_rows)]


def _has_features(file: str, found: pa.Schema, names: Sequence[str]) -> bool:
    here = [name for name in names if name in found.names]
    if len(here) == len(names):
        return True
    if here and VECTOR_COLUMN not in found.names:
        missing = next(name for name in names if name not in found.names)
        raise missing_column(file, missing, found.names, ", which the query model needs")
    return False


def _check_column(file: str, found: pa.DataType, described: ModelInput) -> None:
    value = found.value_type if _is_list(found) else found
    if _is_list(found) and described.max_length is None:
        fits = False
    elif described.type == "string":
        fits = columns.is_text(value)
    elif described.type == "float32":
        fits = bool(pa.types.is_floating(value) or pa.types.is_integer(value))
    else:
        fits = bool(pa.types.is_integer(value) or (described.type == "bool" and pa.types.is_boolean(value)))
    if not fits:
        wanted = described.type if described.max_length is None else f"a list of {described.type}"
        message = f"Column `{described.name}` of {file} is {found}; the query model's input is {wanted}."
        details = {"file": file, "column": described.name, "found": str(found), "expected": wanted}
        raise DropError("drop.bad_column_type", message, details)


def _is_list(found: pa.DataType) -> bool:
    return bool(pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found))


def _rows(batch: pa.RecordBatch, spec: ModelSpec) -> Iterator[Features]:
    """Rows without a null."""
    values = [batch.column(each.name).to_pylist() for each in spec.inputs]
    for row in zip(*values, strict=True):
        features = {
            each.name: Feature(each.kind, list(_sent(value, each)))
            for each, value in zip(spec.inputs, row, strict=True)
        }
        if all(None not in feature.values for feature in features.values()):
            yield features


def _sent(value: Any, described: ModelInput) -> Iterable[Any]:
    """A cell as it would be sent: a list, and a bool as 0 or 1."""
    cells = value if isinstance(value, list) else [value]
    if described.kind == "floats":
        return (None if each is None else float(each) for each in cells)
    if described.kind == "ints":
        return (None if each is None else int(each) for each in cells)
    return cells
