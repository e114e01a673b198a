"""What is in a drop, for a person who is about to register it: columns, a sample, and the schema they suggest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from bundles import columns, formats
from bundles.batches import SEARCHABLE_COLUMN, FileDescription
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.schema import ATTRIBUTE_TYPES

ID_NAMES = ("id", "item_id", "itemid", "item")
VECTOR_NAMES = ("vector", "embedding", "emb", "values")
# A suggestion tries these in turn for a column that could be several.
TYPE_ORDER = ("bool", "string", "list<string>", "float64")


@dataclass(frozen=True)
class Inspection:
    """`rows` is None when only reading tells; `suggested_schema` and `columns` are blocks of a service's spec.

    `skipped`: newer drops that a build would pass over, each with its reason.
    """

    drop: str
    complete: bool
    skipped: tuple[str, ...]
    format: str
    files: int
    bytes: int
    rows: int | None
    found: dict[str, str]
    sample: list[dict[str, Any]]
    suggested_schema: dict[str, Any]
    columns: dict[str, str]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect_files(
    *,
    drop: str,
    complete: bool,
    skipped: tuple[str, ...],
    item_files: Sequence[ItemFile],
    count: int | None,
    sample_rows: int,
) -> Inspection:
    """Looks at the first item file. Raises DropError drop.missing_column when nothing can be an id or a vector."""
    first = item_files[0]
    form = formats.format_of(first.name)
    description = form.describe(first, max(1, sample_rows))
    fields = {name: description.schema.field(name) for name in description.schema.names}
    id_name = _choose(first.name, fields, ID_NAMES, _may_be_id, "an id (integer or text)")
    vector_name = _choose(first.name, fields, VECTOR_NAMES, columns.is_vector, f"a vector ({form.VECTOR_FORM})")
    attributes, notes = _attributes(fields, {id_name, vector_name, SEARCHABLE_COLUMN})
    return Inspection(
        drop=drop,
        complete=complete,
        skipped=skipped,
        format=first.name.rpartition(".")[2],
        files=len(item_files),
        bytes=sum(item.bytes for item in item_files),
        rows=count,
        found={name: str(field.type) for name, field in fields.items()},
        sample=description.sample.slice(0, sample_rows).to_pylist(),
        suggested_schema={
            "id_type": "int64" if pa.types.is_integer(fields[id_name].type) else "string",
            "dimension": _dimension(first.name, description, vector_name),
            "metric": "ip",
            "normalize": False,
            "attributes": attributes,
        },
        columns={"id": id_name, "vector": vector_name},
        notes=notes,
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
        if type_name:
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
