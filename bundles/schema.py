"""What the items of a service look like, as far as an import needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

ID_TYPES = ("int64", "string")
METRICS = ("ip", "cosine", "l2")

# The 64-bit offsets of the large types let a column pass 2 GB.
ATTRIBUTE_TYPES: dict[str, pa.DataType] = {
    "string": pa.large_string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list<string>": pa.large_list(pa.large_string()),
}


@dataclass(frozen=True)
class ImportSchema:
    """Schema of an import; `attributes` are (name, type) pairs, `columns` says what id and vector are called.

    Raises ValueError for a type or metric that is not known: the catalog has checked them long before.
    """

    id_type: str
    dimension: int
    metric: str
    normalize: bool = False
    attributes: tuple[tuple[str, str], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id_type not in ID_TYPES or self.metric not in METRICS or self.dimension < 1:
            raise ValueError(f"bad schema: {self.id_type=} {self.metric=} {self.dimension=}")
        unknown = [type_name for _, type_name in self.attributes if type_name not in ATTRIBUTE_TYPES]
        if unknown:
            raise ValueError(f"unknown attribute types {unknown}")

    @classmethod
    def from_spec(cls, schema: Mapping[str, Any], columns: Mapping[str, str] | None = None) -> ImportSchema:
        """From the `schema` block of a service and the `columns` of its source."""
        return cls(
            id_type=schema["id_type"],
            dimension=schema["dimension"],
            metric=schema["metric"],
            normalize=bool(schema.get("normalize", False)),
            attributes=tuple((each["name"], each["type"]) for each in schema.get("attributes", ())),
            columns=dict(columns or {}),
        )

    @property
    def id_column(self) -> str:
        return self.columns.get("id", "id")

    @property
    def vector_column(self) -> str:
        return self.columns.get("vector", "vector")

    @property
    def normalized(self) -> bool:
        """Whether vectors are stored with length 1; a vector of length 0 is then a bad row."""
        return self.normalize or self.metric == "cosine"

    def attributes_schema(self) -> pa.Schema:
        return pa.schema([(name, ATTRIBUTE_TYPES[type_name]) for name, type_name in self.attributes])
