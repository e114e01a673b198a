"""Attributes and vectors of the answered rows. Answers that want the same columns are read in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from replicas.loaded import LoadedVersion
from replicas.queries import Answer, Column, Query, Rows

# What stands in a column where the value is null.
BLANKS: dict[str, Any] = {"string": "", "int64": 0, "float64": 0.0, "bool": False, "list<string>": []}


def attach_columns(loaded: LoadedVersion, answered: Sequence[tuple[Query, Answer]]) -> None:
    """Fill `columns` and `vectors` of the answers whose queries ask for them."""
    wanted: dict[tuple[str, ...], list[Answer]] = {}
    for query, answer in answered:
        if query.return_vectors:
            answer.vectors = loaded.vectors[answer.rows]
        if query.return_attributes:
            wanted.setdefault(tuple(query.return_attributes), []).append(answer)
    for names, answers in wanted.items():
        columns = columns_of(loaded, names, np.concatenate([answer.rows for answer in answers]))
        first = 0
        for answer in answers:
            last = first + answer.rows.size
            answer.columns = [_part(column, first, last) for column in columns]
            first = last


def columns_of(loaded: LoadedVersion, names: Sequence[str], rows: Rows) -> list[Column]:
    """One column for each name, aligned with `rows`; the names are attributes of the schema."""
    if not names or loaded.attributes is None:
        return []
    taken = loaded.attributes.select(names).take(pa.array(rows))
    return [_column(name, loaded.schema.attributes[name], taken.column(name)) for name in names]


def _column(name: str, kind: str, taken: pa.ChunkedArray) -> Column:
    values = taken.to_pylist()
    if taken.null_count == 0:
        return Column(name, kind, values, [])
    blank = BLANKS[kind]
    present = [value is not None for value in values]
    return Column(name, kind, [blank if value is None else value for value in values], present)


def _part(column: Column, first: int, last: int) -> Column:
    present = column.present[first:last]
    return Column(column.name, column.type, column.values[first:last], [] if all(present) else present)
