"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import yaml
from django import template
from django.utils.dateparse import parse_datetime
from django.utils.timezone import localtime

register = template.Library()

NOTHING = "–"
FIGURE_DECIMALS = 4
CELL_ENTRIES_MAX = 6


@register.filter
def grouped(number: float | None) -> str:
    """1234567 -> 1,234,567."""
    return NOTHING if number is None else f"{number:,.0f}"


@register.filter
def decimals(number: float | None, places: int) -> str:
    return NOTHING if number is None else f"{number:.{places}f}"


@register.filter
def figure(number: float | str | None) -> str:
    """A figure of any size, as exact as people compare it: 0.98, 5, 1,234,567."""
    if number is None or isinstance(number, str):
        return number or NOTHING
    return f"{number:,.{FIGURE_DECIMALS}f}".rstrip("0").rstrip(".")


@register.filter
def cell(value: Any) -> str:
    """A value of a drop in a table: a list by its first entries, which is all that an inspection keeps of a vector."""
    if not isinstance(value, list):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    shown = ", ".join(map(cell, value[:CELL_ENTRIES_MAX]))
    return f"{shown}, …" if len(value) > CELL_ENTRIES_MAX else shown


@register.filter
def entry(values: dict[str, Any], name: str) -> Any:
    """`values[name]`, for a name that only data knows."""
    return values.get(name)


@register.filter
def pairs(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """The entries of a dict whose names only data knows: `values.items` in a template is `values["items"]` first."""
    return list(values.items())


@register.filter
def is_chosen(point: dict[str, Any], tune: dict[str, Any]) -> bool:
    """Whether this point of the curve is the effort that the version searches with."""
    return all(point.get(name) == value for name, value in tune["search_params"].items())


@register.filter
def milliseconds(microseconds: float | str | None) -> str:
    return NOTHING if microseconds is None else f"{float(microseconds) / 1000:.2f} ms"


@register.filter
def moment(when: datetime | str | None) -> str:
    """A time with its zone, to the second."""
    parsed = _time(when)
    return NOTHING if parsed is None else f"{localtime(parsed):%Y-%m-%d %H:%M:%S %Z}"


@register.filter
def duration(seconds: float) -> str:
    """75 -> 1 min 15 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@register.filter
def took(started: datetime | str | None, ended: datetime | str | None) -> str:
    begin, end = _time(started), _time(ended)
    if begin is None or end is None:
        return ""
    seconds = (end - begin).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


@register.filter
def as_yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text


def _time(when: datetime | str | None) -> datetime | None:
    return parse_datetime(when) if isinstance(when, str) else when
