"""The beginning of a long list, and how much of it is left out: no page cuts one in silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """The first rows, and how many more there are."""

    shown: list[Row]
    left_out: int


def listing_of(rows: QuerySet[Row], shown_max: int) -> Listing[Row]:
    """Counts only where there may be more."""
    shown = list(rows[:shown_max])
    return Listing(shown, rows.count() - len(shown) if len(shown) == shown_max else 0)
