"""State columns change here only: a table of allowed moves, and one UPDATE ... WHERE that makes the move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import models

from common.errors import StateConflict

RowT = TypeVar("RowT", bound=models.Model)
Table = Mapping[str, frozenset[str]]


def move(row: RowT, table: Table, to: str, *, where: Mapping[str, Any] | None = None, **values: Any) -> RowT:
    """Moves `row` to state `to` if its present state in the database allows it, and writes `values` with it.

    `where` narrows the UPDATE further, for example by a fence.
    Raises StateConflict when no row matched: another process got there first.
    """
    sources = [state for state, targets in table.items() if to in targets]
    manager = type(row)._default_manager
    moved = manager.filter(pk=row.pk, state__in=sources, **(where or {})).update(state=to, **values)
    if moved != 1:
        found = manager.filter(pk=row.pk).values_list("state", flat=True).first()
        raise StateConflict(f"{type(row).__name__} {row.pk} is {found} and cannot become {to} now.")
    row.refresh_from_db()
    return row
