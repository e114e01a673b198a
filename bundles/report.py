"""What an import found: counts, and the first bad rows with file, row, reason and id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from bundles.batches import Flags

BAD_ROWS_SHOWN = 50
ID_CHARACTERS_SHOWN = 200

# A row has one reason: the first of these that applies. Good rows have code 0.
REASONS = (
    "",
    "bad_line",
    "bad_id",
    "null_vector",
    "wrong_dimension",
    "nan",
    "zero_norm",
    "bad_attribute",
    "duplicate_id",
)
CODES = {reason: code for code, reason in enumerate(REASONS)}

Codes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class BadRow:
    """A row that is not in the version. `row` counts the data rows of its file from 1."""

    file: str
    row: int
    reason: str
    id: int | str | None


@dataclass(frozen=True)
class ImportReport:
    """`rows` = `good_rows` + `bad_rows`; `items` = `good_rows`, of which `searchable_items` can be answers.

    `partition_rows`: searchable items in each partition. `bytes`: size of the item files. `mean_norm`: mean Euclidean
    length, as delivered, of the vectors of good rows (repeated ids included). `reasons`: bad rows by reason. `bad`: the
    first BAD_ROWS_SHOWN of them.
    """

    rows: int
    good_rows: int
    items: int
    searchable_items: int
    partition_rows: tuple[int, ...]
    bad_rows: int
    bad: tuple[BadRow, ...]
    reasons: dict[str, int]
    files: int
    bytes: int
    mean_norm: float
    seconds: float

    @property
    def bad_row_percent(self) -> float:
        return 100.0 * self.bad_rows / self.rows if self.rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "bad": [asdict(row) for row in self.bad], "bad_row_percent": self.bad_row_percent}


@dataclass
class BadRowLog:
    """Counts every bad row and keeps the first few; positions are rows counted over the whole drop."""

    reasons: Counter[str] = field(default_factory=Counter)
    shown: list[tuple[int, BadRow]] = field(default_factory=list)

    def add_batch(self, position: int, file: str, first_row: int, codes: Codes, ids: pa.Array) -> None:
        """`codes` [n]: the reason of each row of a batch whose first row stands at `position` of the drop."""
        for code, count in zip(*np.unique(codes[codes != 0], return_counts=True), strict=True):
            self.reasons[REASONS[code]] += int(count)
        room = max(0, BAD_ROWS_SHOWN - len(self.shown))
        for index in np.flatnonzero(codes)[:room]:
            row = BadRow(file, first_row + int(index), REASONS[codes[index]], shown_id(ids[int(index)].as_py()))
            self.shown.append((position + int(index), row))

    def add_duplicates(self, count: int, first: Sequence[tuple[int, BadRow]]) -> None:
        """Known only at the end of the import: their number, and the first of them by position."""
        if count:
            self.reasons["duplicate_id"] += count
        self.shown.extend(first)

    @property
    def count(self) -> int:
        return self.reasons.total()

    def first(self) -> tuple[BadRow, ...]:
        """The first BAD_ROWS_SHOWN bad rows of the drop, in the order of its files and rows."""
        return tuple(row for _, row in sorted(self.shown, key=lambda each: each[0])[:BAD_ROWS_SHOWN])


def shown_id(found: int | str | bytes | None) -> int | str | None:
    """An id as a report can show it."""
    return found if found is None or isinstance(found, int) else str(found)[:ID_CHARACTERS_SHOWN]


def codes_of(*flags: tuple[str, Flags]) -> Codes:
    """One code for each row: that of the first reason whose flag is set."""
    codes = np.zeros(len(flags[0][1]), np.uint8)
    for reason, flagged in reversed(flags):
        codes[flagged] = CODES[reason]
    return codes
