"""An answer's columns as rows, for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rows_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict for each item of a RecallResponse as a dict: {"rank", "id", "score", "attributes": [...]}."""
    columns = [column_values(column) for column in answer["attributes"]]
    pairs = zip(answer["ids"] or answer["text_ids"], answer["scores"], strict=True)
    return [
        {"rank": rank, "id": item, "score": score, "attributes": [column[rank - 1] for column in columns]}
        for rank, (item, score) in enumerate(pairs, start=1)
    ]


def column_values(column: Mapping[str, Any]) -> list[Any]:
    """An AttributeColumn in proto JSON as a list of values; None where there is none."""
    values = next(kind["values"] for name, kind in column.items() if name not in ("name", "present"))
    plain = [", ".join(value["values"]) if isinstance(value, dict) else value for value in values]
    present = column.get("present") or [True] * len(plain)
    return [value if there else None for value, there in zip(plain, present, strict=True)]
