"""Which efforts are tried: from what each engine says of its search parameters."""

from __future__ import annotations

from dataclasses import fields

import pytest

from engines import registry
from engines.base import SearchEffort
from engines.effort import GRID_POINTS_MAX, bounds, effort_grid

TUNABLE = [name for name in registry.names() if registry.describe(name).effort is not None]


@pytest.mark.parametrize("name", TUNABLE)
def test_an_effort_is_a_bounded_search_parameter_that_a_search_takes(name):
    description = registry.describe(name)
    assert description.effort is not None
    assert description.effort.name in {field.name for field in fields(SearchEffort)}
    low, high = bounds(description)
    assert 0 < low < high


@pytest.mark.parametrize("name", TUNABLE)
@pytest.mark.parametrize(("top_k", "effort_max"), [(1, None), (10, 50), (100, 2000), (100, 40), (100, 100)])
def test_a_grid_rises_to_the_highest_that_is_allowed_and_begins_where_effort_begins_to_count(name, top_k, effort_max):
    description = registry.describe(name)
    low, high = bounds(description)
    highest = min(high, effort_max or high)
    grid = effort_grid(description, top_k=top_k, effort_max=effort_max)
    assert grid == sorted(set(grid))
    assert (grid[0], grid[-1]) == (low if description.effort.below_top_k else min(max(low, top_k), highest), highest)
    assert len(grid) <= GRID_POINTS_MAX


def test_what_is_exact_has_nothing_to_tune():
    assert effort_grid(registry.describe("flat"), top_k=10) == []
