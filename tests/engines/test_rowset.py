"""Sets of rows as bits, beside Python's own sets."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.rowset import RowSet

MASKS = st.lists(st.booleans(), max_size=70)


def as_set(rows: RowSet) -> set[int]:
    return set(rows.rows.tolist())


@given(MASKS)
def test_it_holds_the_rows_of_its_mask_in_order(mask: list[bool]) -> None:
    found = RowSet.of_mask(np.array(mask, dtype=bool))
    expected = [row for row, held in enumerate(mask) if held]
    assert found.rows.tolist() == expected
    assert (found.count, found.size) == (len(expected), len(mask))
    assert found.mask.tolist() == mask
    asked = np.arange(-1, len(mask))
    assert found.holds(asked).tolist() == [False, *mask] if mask else True


@given(MASKS.filter(len), st.data())
def test_less_some_rows_it_holds_the_others_and_is_itself_unchanged(mask: list[bool], data: st.DataObject) -> None:
    whole = RowSet.of_mask(np.array(mask))
    before = as_set(whole) if data.draw(st.booleans()) else {row for row, held in enumerate(mask) if held}
    taken = np.array(data.draw(st.lists(st.integers(0, len(mask) - 1), unique=True)), dtype=np.int64)
    fewer = whole.without(taken)
    assert as_set(fewer) == before - set(taken.tolist())
    assert fewer.count == len(as_set(fewer))
    assert as_set(whole) == before


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 65])
def test_everything_is_every_row(size: int) -> None:
    assert RowSet.everything(size).rows.tolist() == list(range(size))


def test_many_rows_of_one_byte_may_go_at_once() -> None:
    left = RowSet.everything(20).without(np.arange(1, 19))
    assert left.rows.tolist() == [0, 19]


@given(MASKS, st.data())
def test_a_part_counts_from_its_own_first_row(mask: list[bool], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(mask)))
    end = data.draw(st.integers(first, len(mask)))
    part = RowSet.of_mask(np.array(mask, dtype=bool)).part(first, end)
    assert part.mask.tolist() == mask[first:end]


@pytest.mark.parametrize("first", [0, 1_000_000, 1_000_003])
def test_a_part_costs_its_own_rows_and_not_all_of_them(first: int) -> None:
    size, rows = 16_000_000, 1_000_000
    whole = RowSet.everything(size)
    tracemalloc.start()
    try:
        part = whole.part(first, first + rows)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert part.count == rows
    assert peak_bytes < 2 * rows


def test_it_says_what_it_comes_to_hold() -> None:
    few = RowSet.of_mask(np.arange(8_000) % 100 == 0)
    assert few.held_bytes == 1_000 + 8 * 80
    assert few.rows is few.rows
    many = RowSet.of_mask(np.arange(8_000) % 2 == 0)
    assert many.held_bytes == 1_000
    assert many.rows is not many.rows


def test_bits_of_another_number_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="17 rows need 3 bytes"):
        RowSet(np.zeros(2, np.uint8), 17)
