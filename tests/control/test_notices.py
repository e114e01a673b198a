"""How a source says when its drops are noticed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from catalog.notices import built_spec, expect_time, is_cron, next_due
from catalog.spec import parse_spec
from common.errors import InvalidArgument
from tests.factories import make_spec


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def source(**fields: object) -> dict[str, object]:
    return make_spec(source={"uri": "file:movies/", **fields})


@pytest.mark.parametrize(
    "notice",
    ["marker", "manual", "0 3 * * *", "*/15 * * * *", "0 0 * * mon-fri", "30 2 1,15 * *", "0 0 29 2 *", "0 0 l * *"],
)
def test_it_takes_a_marker_a_hand_and_every_cron_expression_that_comes_due(notice):
    spec = parse_spec(source(notice=notice))
    assert spec.source.notice == notice
    assert is_cron(notice) == (" " in notice)


@pytest.mark.parametrize(
    "notice",
    [
        *("", "markers", "cron", "@daily", "0 3 * *", "0 3 * * * *", "0 3 * * * * 2030", "60 * * * *", "*/0 * * * *"),
        *("0 0 30 2 *", "R 3 * * *", "H 3 * * *", "0 0 * * someday", "0 3 * * " + "1," * 60 + "1"),
    ],
)
def test_it_refuses_what_is_no_expression_or_never_comes_due(notice):
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(source(notice=notice))
    assert caught.value.details[0]["field"] == "source.notice"
    assert "Write marker, manual, or a cron" in caught.value.message or "never comes due" in caught.value.message


@pytest.mark.parametrize("notice", [None, 3, True, ["marker"]])
def test_a_notice_is_a_text(notice):
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(source(notice=notice))
    assert caught.value.details[0]["field"] == "source.notice"


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ("0 3 * * *", "2026-11-25T02:59:59", "2026-11-25T03:00:00"),
        ("0 3 * * *", "2026-11-25T03:00:00", "2026-11-26T03:00:00"),
        ("0 0 29 2 *", "2096-12-31T00:00:00", "2104-02-29T00:00:00"),
        # Nothing is skipped or said twice when clocks elsewhere change.
        ("30 2 * * *", "2026-03-29T00:00:00", "2026-03-29T02:30:00"),
    ],
)
def test_times_are_utc(cron, after, due):
    assert next_due(cron, at(after)) == at(due)
    elsewhere = at(after).astimezone(timezone(timedelta(hours=9)))
    assert next_due(cron, elsewhere) == at(due)


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1_800), ("26h", 93_600), ("7d", 604_800), ("366d", 31_622_400)])
def test_it_takes_how_often_a_drop_must_come(text, seconds):
    assert parse_spec(source(expect_every=text)).source.expect_every == text
    assert expect_time(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "26", "0h", "-1h", "1.5h", "26 h", "26H", "367d", "99999d", "1w", "٣h", 26, True])
def test_it_refuses_what_is_no_time(text):
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(source(expect_every=text))
    assert caught.value.details[0]["field"] == "source.expect_every"


def test_limits_retention_and_the_notice_make_no_other_version():
    spec = parse_spec(source()).stored()
    other = parse_spec(
        {**source(notice="manual", expect_every="1d"), "limits": {"qps": 7}, "versions": {"keep": 3}}
    ).stored()
    assert built_spec(other) == built_spec(spec)
    for block in ({"engine": "hnsw"}, {"guards": {"min_items": 7}}, {"replicas": {"count": 2}}, {"search": {"at": 7}}):
        assert built_spec(parse_spec({**source(), **block}).stored()) != built_spec(spec)
    assert built_spec(parse_spec(source(files=["*.csv"])).stored()) != built_spec(spec)
