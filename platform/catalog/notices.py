"""How drops of a source are noticed (`marker`, `manual`, or a cron expression in UTC), and how often one must come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from croniter import croniter

MARKER, MANUAL = "marker", "manual"

CRON_FIELDS = 5
CRON_CHARACTERS_MAX = 100
# From one 29 February to the next across a century.
CRON_YEARS_MAX = 8
# croniter would take H and R too, for times by chance.
CRON_WORD = re.compile(r"l|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat", re.IGNORECASE)
EXPECT_PATTERN = re.compile(r"([1-9][0-9]{0,4})([mhd])", re.ASCII)
EXPECT_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
EXPECT_MAX = timedelta(days=366)
# What is in a version is decided by these blocks, and by how a drop's files are read.
MADE_BLOCKS = ("schema", "engine", "search")
MADE_OF_SOURCE = ("files", "columns")
# A change of these, too, is reason to build a drop again; a change of anything else (limits, retention) is not.
BUILT_BLOCKS = ("guards", "replicas")
BUILT_OF_SOURCE = ("uri",)


def check_notice(notice: str) -> str:
    """Raises ValueError that says what to write."""
    if notice in (MARKER, MANUAL):
        return notice
    known = all(CRON_WORD.fullmatch(word) for word in re.findall(r"[A-Za-z]+", notice))
    if len(notice) > CRON_CHARACTERS_MAX or len(notice.split()) != CRON_FIELDS or not known:
        raise ValueError("Write marker, manual, or a cron expression of five fields in UTC, such as `0 3 * * *`.")
    try:
        # From a leap year's end, from where the way to the next 29 February is the longest.
        next_due(notice, datetime.fromisoformat("2096-12-31T00:00:00+00:00"))
    except ValueError as error:
        raise ValueError(f"This cron expression never comes due: {error}") from error
    return notice


def check_expect_every(text: str) -> str:
    """Raises ValueError that says what to write."""
    if not EXPECT_PATTERN.fullmatch(text) or expect_time(text) > EXPECT_MAX:
        raise ValueError(f"Write minutes, hours or days such as 30m, 26h or 7d, at most {EXPECT_MAX.days}d.")
    return text


def is_cron(notice: str) -> bool:
    return notice not in (MARKER, MANUAL)


def next_due(cron: str, after: datetime) -> datetime:
    """The first moment after `after` that the expression names, in UTC. Raises ValueError when there is none."""
    due: datetime = croniter(cron, after.astimezone(UTC), max_years_between_matches=CRON_YEARS_MAX).get_next(datetime)
    return due


def expect_time(text: str) -> timedelta:
    """`26h` as a time."""
    found = EXPECT_PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time such as 26h")
    return int(found[1]) * EXPECT_UNITS[found[2]]


def built_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a spec of which a change is reason to build a drop again."""
    source = {name: spec["source"][name] for name in BUILT_OF_SOURCE}
    return {"made": made_spec(spec), "source": source, **{name: spec[name] for name in BUILT_BLOCKS}}


def made_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a spec that decides what is in a version."""
    source = {name: spec["source"][name] for name in MADE_OF_SOURCE}
    return {"source": source, **{name: spec[name] for name in MADE_BLOCKS}}
