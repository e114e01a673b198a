"""A row of numbers as a line of little bars."""

from __future__ import annotations

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value from 0 to the greatest; a gap where nothing is known."""
    known = [value for value in values if value is not None]
    top = max(known, default=0)
    return "".join(" " if value is None else _bar(value, top) for value in values)


def _bar(value: float, top: float) -> str:
    return BARS[min(len(BARS) - 1, int(value / top * len(BARS)))] if top else BARS[0]
