"""What filters select, beside a real SQL database; and what is remembered of them."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicas.filters.matcher import Matcher, Remembered
from tests.support.filtering import MADE, TYPES, Items, items, selected, table_of, text_of

ROWS, SEARCHABLE = 24, 20


@given(made=MADE, columns=items(ROWS), seed=st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_a_filter_selects_what_the_same_where_clause_selects(made: tuple, columns: Items, seed: int) -> None:
    matcher = Matcher(table_of(columns), TYPES, SEARCHABLE)
    found = matcher.rows(text_of(made, random.Random(seed)))
    assert found.rows.tolist() == [row for row in selected(made, columns) if row < SEARCHABLE]


@given(made=MADE, seeds=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)))
@settings(max_examples=100, deadline=None)
def test_one_filter_written_twice_is_worked_out_once(made: tuple, seeds: tuple[int, int]) -> None:
    columns: Items = {name: [None] * ROWS for name in TYPES}
    matcher = Matcher(table_of(columns), TYPES, SEARCHABLE)
    first, second = (matcher.rows(text_of(made, random.Random(seed))) for seed in seeds)
    assert first is second


@pytest.fixture
def years() -> Matcher:
    return Matcher(pa.table({"year": pa.array([1990, None, 2000, 2010])}), {"year": "int64"}, 4)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("year == 2000", [2]),
        ("year != 2000", [0, 3]),
        ("not year == 2000", [0, 3]),
        ("year not in [2000, 2010]", [0]),
        ("not (year < 2005)", [3]),
        ("year != 2000 or year is null", [0, 1, 3]),
        ("year is null", [1]),
        ("not (year is null)", [0, 2, 3]),
        ("year is null and year > 0", []),
        ("year == 1990 or year == 2000 and year == 2010", [0]),
        ("not year == 1990 and year == 2010", [3]),
    ],
)
def test_a_null_is_neither_selected_by_a_test_nor_by_its_opposite(years: Matcher, text: str, rows: list[int]) -> None:
    assert years.rows(text).rows.tolist() == rows


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("year in [2000, 1990, 2000]", "year IN [1990,2000]"),
        ("year in [2000]", "year == 2000"),
        ("year != 2000", "not year == 2000"),
        ("not not year > 1", "year > 1"),
        ("year > 1 and (year < 9 and year is null)", "year is null and year > 1 and year < 9"),
        ("year > 1 or year > 1", "year > 1"),
    ],
)
def test_filters_of_one_form_are_one(years: Matcher, one: str, other: str) -> None:
    assert years.rows(one) is years.rows(other)


def test_what_is_remembered_is_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    kept: Remembered[str, int] = Remembered(100)
    made: list[str] = []

    def ask(key: str, size: int) -> int:
        return kept.get(key, lambda: made.append(key) or len(made), lambda _: size)

    for key in "abc":
        ask(key, 40)
    assert kept.held_bytes == 80
    ask("b", 40)
    ask("d", 40)
    ask("b", 40)
    assert made == ["a", "b", "c", "d"]
    ask("c", 40)
    assert made == ["a", "b", "c", "d", "c"]
    ask("huge", 101)
    ask("huge", 101)
    assert made[-2:] == ["huge", "huge"]
    assert kept.held_bytes == 80


def test_a_version_without_a_matching_item_selects_nothing(years: Matcher) -> None:
    found = years.rows("year == 7")
    assert found.count == 0
    assert found.rows.dtype == np.int64
