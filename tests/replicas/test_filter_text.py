"""Filters that are refused: where, why, and what would do. Whatever the text, nothing else happens to it."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicas.errors import InvalidQuery
from replicas.filters.limits import BYTES_MAX, LITERALS_MAX, NESTING_MAX, TESTS_MAX, FilterInvalid
from replicas.filters.parsing import parse
from replicas.filters.tree import Filter
from tests.support.filtering import MADE, TYPES, text_of

SECONDS_MAX = 1.0


def refusal(text: str) -> InvalidQuery:
    with pytest.raises(InvalidQuery) as refused:
        parse(text, TYPES)
    assert refused.value.field == "filter"
    return refused.value


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("yeer == 1", "FILTER_ATTRIBUTE_UNKNOWN", "character 1: the schema has no attribute yeer; did you mean year?"),
        ("new == true and Year > 1", "FILTER_ATTRIBUTE_UNKNOWN", "character 17: the schema has no attribute Year; did"),
        ("zzz is null", "FILTER_ATTRIBUTE_UNKNOWN", "there are title, year, score, new, genre"),
        (
            "year == '1990'",
            "FILTER_TYPE_MISMATCH",
            "character 9: '1990' does not fit year, which is int64; write a whole",
        ),
        ("year > 1990.5", "FILTER_TYPE_MISMATCH", "character 8: 1990.5 does not fit year"),
        ("title == 5", "FILTER_TYPE_MISMATCH", "write a string in quotes"),
        ("new == 1", "FILTER_TYPE_MISMATCH", "write true or false"),
        ("score in [1, 'x']", "FILTER_TYPE_MISMATCH", "character 14: 'x' does not fit score"),
        ("new < true", "FILTER_TYPE_MISMATCH", "bool, which has no order; write `==` or `!=`"),
        ("genre == 'drama'", "FILTER_TYPE_MISMATCH", "genre is list<string>; write `genre contains`"),
        ("title contains 'a'", "FILTER_TYPE_MISMATCH", "Write `==` or `in`"),
        ("genre contains 5", "FILTER_TYPE_MISMATCH", "character 16: 5 does not fit genre"),
        ("year == 9223372036854775808", "FILTER_LITERAL_OUT_OF_RANGE", "no int64"),
        ("year == -9223372036854775809", "FILTER_LITERAL_OUT_OF_RANGE", "no int64"),
        ("year == " + "9" * 6_000, "FILTER_LITERAL_OUT_OF_RANGE", "character 9: 9999"),
        ("score < 1e999", "FILTER_LITERAL_OUT_OF_RANGE", "beyond what a float64"),
        (r"title == '\q'", "FILTER_SYNTAX", r"character 11: `\q` is no escape"),
        ("title == 'abc", "FILTER_SYNTAX", "character 10: this string has no closing '"),
        ("year = 1", "FILTER_SYNTAX", "character 6: expected `not`, `in`, `is`"),
        ("year = 1", "FILTER_SYNTAX", "compare with `==`"),
        ("year == 1 && year == 2", "FILTER_SYNTAX", "write `and`"),
        ("year == 1 || year == 2", "FILTER_SYNTAX", "write `or`"),
        ("!(year == 1)", "FILTER_SYNTAX", "write `not`"),
        ("year in (1, 2)", "FILTER_SYNTAX", "character 9: expected `[`, found `(1,`; a list stands in brackets"),
        ("year in []", "FILTER_SYNTAX", "expected a number, a string in quotes, `true` or `false`, found `]`"),
        ("year == 1 and", "FILTER_SYNTAX", "character 14: expected `not`, an attribute or `(`, found the end"),
        ("(year == 1", "FILTER_SYNTAX", "`)`, found the end"),
        ("year == 1)", "FILTER_SYNTAX", "character 10"),
        ("year == year", "FILTER_SYNTAX", "expected a number"),
        ("1990 == year", "FILTER_SYNTAX", "character 1: expected `not`, an attribute or `(`, found `1990`"),
        ("year == 1990x", "FILTER_SYNTAX", "character 9"),
        ("year == 0x10", "FILTER_SYNTAX", "character 9"),
        ("year is 5", "FILTER_SYNTAX", "expected `not` or `null`"),
        ("année == 5", "FILTER_SYNTAX", "character 1"),
        ("year == 1\0", "FILTER_SYNTAX", "character 10"),
    ],
)
def test_it_says_where_and_what_would_do(text: str, reason: str, says: str) -> None:
    error = refusal(text)
    assert error.reason == reason
    assert says in error.message
    assert len(error.message) < 500


def test_a_schema_without_attributes_has_nothing_to_filter_by() -> None:
    with pytest.raises(InvalidQuery, match="it has none at all"):
        parse("year == 1", {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(" * 1_000 + "year == 1" + ")" * 1_000, "FILTER_TOO_DEEP"),
        ("not " * 1_000 + "year == 1", "FILTER_TOO_DEEP"),
        ("not (" * 1_000 + "year == 1" + ")" * 1_000, "FILTER_TOO_DEEP"),
        ("(" * 4_000, "FILTER_SYNTAX"),
        ("not " * 2_000, "FILTER_SYNTAX"),
        ("(year == 1 and " * 60 + "year == 1" + ")" * 60, "FILTER_TOO_DEEP"),
        (" or ".join(["year == 1"] * 500), "FILTER_TOO_MANY_TESTS"),
        ("title == '" + "x" * 10_000 + "'", "FILTER_TOO_LONG"),
        ("title == '" + "é" * 4_100 + "'", "FILTER_TOO_LONG"),
        ("year in [" + ",".join(["1"] * 2_000) + "]", "FILTER_TOO_MANY_LITERALS"),
        ("[" * 8_000, "FILTER_SYNTAX"),
        ("a" * 8_000, "FILTER_SYNTAX"),
        ('"' + "\\" * 8_000, "FILTER_SYNTAX"),
    ],
    ids=lambda value: value if value.isupper() else None,
)
def test_what_is_too_much_is_refused_at_once(text: str, reason: str) -> None:
    started = time.perf_counter()
    assert refusal(text).reason == reason
    assert time.perf_counter() - started < SECONDS_MAX


def test_what_is_just_allowed_is_taken() -> None:
    deep = "not " * (NESTING_MAX // 2) + "(" * (NESTING_MAX // 2) + "year == 1" + ")" * (NESTING_MAX // 2)
    wide = " and ".join(f"year != {number}" for number in range(TESTS_MAX))
    many = f"year in [{','.join(str(number) for number in range(LITERALS_MAX))}]"
    long = "title == '" + "x" * (BYTES_MAX - 11) + "'"
    both = ("(year == 1 and (year == 2 or " * (NESTING_MAX // 2)) + "new == true" + "))" * (NESTING_MAX // 2)
    for text in (deep, wide, many, long, both):
        assert len(text.encode()) <= BYTES_MAX
        parse(text, TYPES)


WORDS = ["year", "genre", "title", "new", "nope", "==", "<", "!=", "=", "and", "OR", "not", "in", "is", "null", "true"]
WORDS += [
    "contains",
    "contains_any",
    "(",
    ")",
    "[",
    "]",
    ",",
    "1",
    "-1.5e3",
    "'a'",
    '"b"',
    "'",
    "\\",
    "\n",
    "\x00",
    "é",
]


def outcome(text: str) -> Filter | None:
    """A filter, or None when it is refused as a caller's mistake; any other error is raised."""
    started = time.perf_counter()
    with contextlib.suppress(FilterInvalid):
        return parse(text, TYPES)
    assert time.perf_counter() - started < SECONDS_MAX
    return None


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
@settings(max_examples=400, deadline=None)
def test_words_in_any_order_are_a_filter_or_refused(text: str) -> None:
    outcome(text)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    outcome(text)


@given(made=MADE, seed=st.integers(0, 2**32), at=st.integers(0, 500), put=st.sampled_from([*WORDS, ""]))
@settings(max_examples=300, deadline=None)
def test_a_filter_with_a_slip_in_it_is_a_filter_or_refused(made: tuple, seed: int, at: int, put: str) -> None:
    text = text_of(made, random.Random(seed))
    at %= len(text)
    outcome(text[:at] + put + text[at + 1 :])
