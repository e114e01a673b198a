"""What is a query that can be searched, for every engine."""

from __future__ import annotations

import numpy as np
import pytest

from engines.checks import check_queries
from engines.errors import QueryInvalid


@pytest.mark.parametrize("value", [0.0, 1.0, -3e38, 3e38])
def test_great_numbers_are_numbers_though_their_squares_are_not(value: float) -> None:
    queries = np.full((2, 4), value, dtype=np.float32)
    np.testing.assert_array_equal(check_queries(queries, 4, 5), queries)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_is_found_among_great_ones(value: float) -> None:
    queries = np.full((2, 4), 3e38, dtype=np.float32)
    queries[1, 2] = value
    with pytest.raises(QueryInvalid, match="NaN or infinity"):
        check_queries(queries, 4, 5)
