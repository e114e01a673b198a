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


@register.filter
def grouped(number: float | None) -> str:
    """1234567 -> 1,234,567."""
    return NOTHING if number is None else f"{number:,.0f}"


@register.filter
def decimals(number: float | None, places: int) -> str:
    return NOTHING if number is None else f"{number:.{places}f}"


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
