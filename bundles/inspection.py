"""What is in a drop, for a person who is about to register it: columns, a sample, and the schema they suggest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bundles import columns, formats
from bundles.batches import SEARCHABLE_COLUMN, FileDescription
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.sample_check import SampleCheck, check_sample
from bundles.schema import ATTRIBUTE_TYPES, ImportSchema

ID_NAMES = ("id", "item_id", "itemid", "item")
VECTOR_NAMES = ("vector", "embedding", "emb", "values")
# The lengths of so many first vectors suggest the metric; alike are those that differ by at most this share.
METRIC_ROWS = 200
LENGTHS_ALIKE = 0.01
# A suggestion tries these in turn for a column that could be several.
TYPE_ORDER = ("bool", "string", "list<string>", "float64")


@dataclass(frozen=True)
class Wanted:
    """What somebody has decided already, in the words of a spec: by it the sample is judged.

    `schema` and `columns` are None while nothing is decided: then by what the drop itself suggests. `files`: patterns
    of the items in a drop without a manifest; none: the usual ones.
    """

    schema: Mapping[str, Any] | None = None
    columns: Mapping[str, str] | None = None
    files: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"schema": self.schema, "columns": self.columns, "files": list(self.files)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Wanted:
        return cls(told["schema"], told["columns"], tuple(told["files"]))


NOTHING_DECIDED = Wanted()


@dataclass(frozen=True)
class Inspection:
    """`rows` is None when only reading tells; `suggested_schema` and `columns` are blocks of a service's spec.

    `drops`: those of the source, newest first; of a remote one only as far as the first that is complete. `drop`: the
    one that was looked into. `missing`: what it lacks to be complete, empty when it is. `skipped`: newer drops that a
    build would pass over, each with its reason. `names`: its columns in their order, which an object of JSON loses on
    its way through a database. `found`: the type of each. `why`: the reason for the suggested metric. `source_files`:
    the suggested patterns. `check`: what an import would make of a sample of it.
    """

    drops: tuple[str, ...]
    drop: str
    complete: bool
    missing: str
    skipped: tuple[str, ...]
    format: str
    files: int
    bytes: int
    rows: int | None
    names: tuple[str, ...]
    found: dict[str, str]
    sample: list[dict[str, Any]]
    suggested_schema: dict[str, Any]
    why: str
    columns: dict[str, str]
    source_files: list[str]
    notes: list[str]
    check: SampleCheck

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect_files(
    *,
    drops: tuple[str, ...],
    drop: str,
    missing: str,
    skipped: tuple[str, ...],
    item_files: Sequence[ItemFile],
    source_files: Sequence[str],
    count: int | None,
    sample_rows: int,
    wanted: Wanted = NOTHING_DECIDED,
) -> Inspection:
    """Looks at the first item file, and judges a sample of the drop by what is `wanted`.

    Raises DropError drop.missing_column when nothing can be an id or a vector.
    """
    first = item_files[0]
    form = formats.format_of(first.name)
    description = form.describe(first, max(METRIC_ROWS, sample_rows))
    fields = {name: description.schema.field(name) for name in description.schema.names}
    id_name = _choose(first.name, fields, ID_NAMES, _may_be_id, "an id (integer or text)")
    vector_name = _choose(first.name, fields, VECTOR_NAMES, columns.is_vector, f"a vector ({form.VECTOR_FORM})")
    attributes, notes = _attributes(fields, {id_name, vector_name, SEARCHABLE_COLUMN})
    dimension = _dimension(first.name, description, vector_name)
    metric, why = _metric(description, vector_name, dimension)
    suggested = {
        "id_type": "int64" if pa.types.is_integer(fields[id_name].type) else "string",
        "dimension": dimension,
        "metric": metric,
        "normalize": False,
        "attributes": attributes,
    }
    named = {"id": id_name, "vector": vector_name}
    judged_by = ImportSchema.from_spec(wanted.schema or suggested, wanted.columns or named)
    return Inspection(
        drops=drops,
        drop=drop,
        complete=not missing,
        missing=missing,
        skipped=skipped,
        format=first.name.rpartition(".")[2],
        files=len(item_files),
        bytes=sum(item.bytes for item in item_files),
        rows=count,
        names=tuple(fields),
        found={name: str(field.type) for name, field in fields.items()},
        sample=description.sample.slice(0, sample_rows).to_pylist(),
        suggested_schema=suggested,
        why=why,
        columns=named,
        source_files=list(source_files),
        notes=notes,
        check=check_sample(item_files, judged_by),
    )


def _may_be_id(found: pa.DataType) -> bool:
    return bool(pa.types.is_integer(found)) or columns.is_text(found)


def _choose(file: str, fields: dict[str, pa.Field], names: tuple[str, ...], fits: Any, what: str) -> str:
    """The column with a usual name, else the first that fits."""
    fitting = [name for name, field in fields.items() if fits(field.type)]
    usual = [name for name in names if name in fitting]
    if not fitting:
        message = f"No column of {file} can be {what}; it has {', '.join(fields) or 'none'}."
        raise DropError("drop.missing_column", message, {"file": file, "column": names[0], "found": list(fields)})
    return (usual or fitting)[0]


def _attributes(fields: dict[str, pa.Field], taken: set[str]) -> tuple[list[dict[str, str]], list[str]]:
    attributes, notes = [], []
    for name, field in fields.items():
        if name in taken:
            continue
        type_name = next(_attribute_types(field.type), None)
        if pa.types.is_null(field.type):
            notes.append(f"Column `{name}` holds no value; say of which type it is when it shall be an attribute.")
        elif type_name:
            attributes.append({"name": name, "type": type_name})
        else:
            kinds = ", ".join(ATTRIBUTE_TYPES)
            notes.append(f"Column `{name}` is {field.type} and cannot be an attribute ({kinds}).")
    return attributes, notes


def _attribute_types(found: pa.DataType) -> Iterator[str]:
    if pa.types.is_integer(found):
        yield "int64"
    yield from (type_name for type_name in TYPE_ORDER if columns.accepts(type_name, found))


def _dimension(file: str, description: FileDescription, vector_name: str) -> int:
    """The list's size, or the most common length in the sample."""
    found = description.schema.field(vector_name).type
    if pa.types.is_fixed_size_list(found):
        return int(found.list_size)
    lengths = Counter(len(vector) for vector in description.sample[vector_name].to_pylist() if vector)
    if not lengths:
        raise DropError("drop.empty", f"The first rows of {file} hold no vector.", {"file": file})
    return lengths.most_common(1)[0][0]


def _metric(description: FileDescription, vector_name: str, dimension: int) -> tuple[str, str]:
    """A metric and the reason for it: vectors that are not all of one length were hardly meant for a plain ip."""
    lengths = _lengths(description, vector_name, dimension)
    if not len(lengths):
        return "ip", "The first rows hold no good vector; ip is only the default."
    least, most, rows = float(lengths.min()), float(lengths.max()), f"{len(lengths)} vectors that were looked at"
    if max(abs(most - 1), abs(least - 1)) <= LENGTHS_ALIKE:
        return "ip", f"The {rows} are of length 1, so ip and cosine are the same, and ip leaves them as they are."
    if most - least <= LENGTHS_ALIKE * most:
        return "ip", f"The {rows} are all of length {most:.3g}, so ip and cosine rank alike."
    return "cosine", (
        f"The {rows} are not of one length ({least:.3g} to {most:.3g}), and cosine leaves lengths out. "
        "Write ip if the model was trained on the inner product, l2 if on distances."
    )


def _lengths(description: FileDescription, vector_name: str, dimension: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Euclidean lengths of the good vectors of the sample, float64 [n]."""
    found = [columns.vectors(chunk, dimension) for chunk in description.sample[vector_name].chunks]
    lengths = [np.linalg.norm(rows[counts == dimension].astype(np.float64), axis=1) for rows, counts in found]
    every = np.concatenate(lengths) if lengths else np.empty(0)
    return every[np.isfinite(every) & (every > 0)]
