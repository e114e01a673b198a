"""One number tells of most vectors that they can be searched; the others are looked at one by one."""

from __future__ import annotations

import numpy as np
import pytest

from bundles.query_vectors import LENGTH_MAX, SQUARES_SURELY_GOOD, as_searched

UNIT = np.full(4, 0.5, dtype=np.float32)


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        ([UNIT], {}),
        ([UNIT * 0.97e18], {}),
        ([UNIT * 0.97e18] * 3, {}),
        ([UNIT, UNIT * 1.01e18, UNIT], {1: "VECTOR_TOO_LONG"}),
        ([UNIT * 1e30], {0: "VECTOR_TOO_LONG"}),
        ([UNIT, UNIT * np.nan], {1: "VECTOR_NOT_FINITE"}),
        ([UNIT * np.inf, UNIT], {0: "VECTOR_NOT_FINITE"}),
        ([UNIT * np.array([np.inf, -np.inf, 1, 1], np.float32)], {0: "VECTOR_NOT_FINITE"}),
        ([UNIT * 0], {}),
    ],
)
def test_each_row_is_judged_by_its_own_length(rows: list[np.ndarray], refused: dict[int, str]) -> None:
    searched = as_searched(np.stack(rows).astype(np.float32), normalized=False)
    assert {row: refusal.reason for row, refusal in searched.refused.items()} == refused
    for row, given in enumerate(rows):
        if row not in refused:
            np.testing.assert_array_equal(searched.matrix[row], given.astype(np.float32))


def test_a_length_just_below_the_limit_is_told_by_looking_at_it() -> None:
    """Otherwise the cases above would not go the long way."""
    assert SQUARES_SURELY_GOOD < (0.97e18) ** 2 < LENGTH_MAX**2


def test_many_vectors_are_judged_alike() -> None:
    many = np.tile(UNIT, (5_000, 1))
    many[4_321] *= 1.01e18
    refused = as_searched(many, normalized=False).refused
    assert {row: refusal.reason for row, refusal in refused.items()} == {4_321: "VECTOR_TOO_LONG"}
