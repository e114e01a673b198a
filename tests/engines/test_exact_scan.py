"""Exact search where it is hard to be exact: many blocks, many ties, lost digits."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from engines import exact
from engines.description import Metric
from engines.errors import DeadlineOver, VectorsInvalid
from engines.exact import ExactScan
from engines.rowset import RowSet
from tests.engines.data import float64_best, float64_scores

METRICS = get_args(Metric)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    """Blocks of four rows, passes of three queries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "QUERIES_PER_PASS_MAX", 3)
        patch.setattr(exact, "BLOCK_BYTES_MAX", 4 * 4 * 3)
        yield


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_it_orders_like_a_plain_sort_whatever_the_ties(data: st.DataObject) -> None:
    """Small whole numbers: half of all scores are equal, and none is rounded."""
    n, d, q = (data.draw(st.integers(1, most)) for most in (40, 3, 5))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers
    vectors, queries = (draw(-2, 3, (rows, d)).astype(np.float32) for rows in (n, q))
    metric: Metric = data.draw(st.sampled_from(METRICS))
    top_k = data.draw(st.integers(1, n + 3))
    rows, scores = ExactScan(vectors, metric).search(queries, top_k)
    for found, given_scores, query in zip(rows, scores, queries, strict=True):
        expected = float64_best(vectors, query, metric, top_k)
        assert found[: len(expected)].tolist() == expected.tolist()
        assert given_scores[: len(expected)].tolist() == float64_scores(vectors, query, metric)[expected].tolist()
        assert (found[len(expected) :] == -1).all()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_among_allowed_rows_it_orders_like_a_plain_sort_of_those(data: st.DataObject) -> None:
    """Few allowed rows are gathered, many are passed over; a scan that knows all lengths does as one that does not."""
    n, d, q = (data.draw(st.integers(1, most)) for most in (40, 3, 5))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers
    vectors, queries = (draw(-2, 3, (rows, d)).astype(np.float32) for rows in (n, q))
    metric: Metric = data.draw(st.sampled_from(METRICS))
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    scan = ExactScan(vectors, metric)
    if data.draw(st.booleans()):
        scan.prepare()
    top_k = data.draw(st.integers(1, n + 3))
    rows, scores = scan.search(queries, top_k, RowSet.of_mask(allowed))
    for found, given_scores, query in zip(rows, scores, queries, strict=True):
        ranked = float64_best(vectors, query, metric, n)
        expected = ranked[allowed[ranked]][:top_k]
        assert found[: len(expected)].tolist() == expected.tolist()
        assert given_scores[: len(expected)].tolist() == float64_scores(vectors, query, metric)[expected].tolist()
        assert (found[len(expected) :] == -1).all()
        assert np.isnan(given_scores[len(expected) :]).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1_000, 1), (1_000, 1e-2), (0, 1e-20), (0, 1e17)])
def test_it_is_exact_where_a_float32_product_is_not(metric: Metric, offset: float, scale: float) -> None:
    rng = np.random.default_rng(3)
    vectors = (offset + scale * rng.standard_normal((200, 16))).astype(np.float32)
    queries = (offset + scale * rng.standard_normal((4, 16))).astype(np.float32)
    rows, _ = ExactScan(vectors, metric).search(queries, 10)
    some = np.arange(200) % 5 == 0
    among, _ = ExactScan(vectors, metric).search(queries, 10, RowSet.of_mask(some))
    for found, found_among, query in zip(rows, among, queries, strict=True):
        ranked = float64_best(vectors, query, metric, 200)
        assert found.tolist() == ranked[:10].tolist()
        assert found_among.tolist() == ranked[some[ranked]][:10].tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_does_not_depend_on_the_size_of_the_blocks(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((50, 64), dtype=np.float32)[rng.integers(50, size=2_000)]
    queries = rng.standard_normal((5, 64), dtype=np.float32)
    small = ExactScan(vectors, metric).search(queries, 100)
    monkeypatch.setattr(exact, "BLOCK_BYTES_MAX", 2**20)
    monkeypatch.setattr(exact, "QUERIES_PER_PASS_MAX", 64)
    large = ExactScan(vectors, metric).search(queries, 100)
    np.testing.assert_array_equal(small, large)


def test_no_rows_give_an_empty_answer() -> None:
    rows, scores = ExactScan(np.empty((0, 2), np.float32), "ip").search(np.ones((2, 2), np.float32), 2)
    assert rows.tolist() == [[-1, -1]] * 2
    assert np.isnan(scores).all()


def test_it_names_the_first_row_that_is_not_finite() -> None:
    vectors = np.ones((30, 2), np.float32)
    vectors[17, 1] = np.nan
    with pytest.raises(VectorsInvalid, match="row 17"):
        ExactScan(vectors, "l2").prepare()


def test_blas_keeps_to_one_thread() -> None:
    """Also that of a library which brings its own."""
    assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {1}


def test_a_scan_ends_when_nobody_waits_for_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.eye(12, dtype=np.float32)
    scan = ExactScan(vectors, "ip")
    scan.prepare()
    moments = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(exact, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    with pytest.raises(DeadlineOver):
        scan.search(vectors, 1, until=2.0)
    # In its second block.
    assert next(moments) == 3.0
    monkeypatch.undo()
    found, _ = scan.search(vectors, 1, until=time.monotonic() + 60)
    assert found.ravel().tolist() == list(range(12))
