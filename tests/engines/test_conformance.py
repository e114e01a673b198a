"""What every engine does alike. A new engine adds a row to the registry and no line here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines import registry
from engines.base import IndexSpec, SearchEffort
from engines.description import PARTITIONS_MAX
from engines.errors import EngineError, ParamsInvalid, QueryInvalid, SearcherClosed, VectorsInvalid
from engines.rowset import RowSet
from tests.engines.data import DEFAULT, DIMENSION, Built, build_and_open, float64_best, float64_scores, recall

FourRows = Callable[[str, int], Path]
EXACT = SearchEffort(exact=True)
# An exact index over the mapped vectors has no files.
NOWHERE = Path("/nowhere")
THREADS = 6
# As many rounds as a local engine does in a moment; whoever asks a server does as many as there is time for, and one.
ROUNDS = 30
ROUNDS_SECONDS_MAX = 3.0


def test_it_finds_what_exact_search_finds(built: Built) -> None:
    oracle = registry.open_searcher("flat", replace(built.spec, partitions=1), NOWHERE, built.vectors)
    truth, _ = oracle.search(built.queries, 10, DEFAULT)
    found, _ = built.searcher.search(built.queries, 10, DEFAULT)
    assert recall(found, truth) >= registry.describe(built.name).recall_floor


def test_exact_effort_gives_the_textbook_answer(built: Built) -> None:
    found, _ = built.searcher.search(built.queries[:20], 50, EXACT)
    for row, query in zip(found, built.queries, strict=False):
        assert row.tolist() == float64_best(built.vectors, query, built.spec.metric, 50).tolist()


def test_scores_are_the_metric_of_the_row_they_stand_by(built: Built) -> None:
    rows, scores = built.searcher.search(built.queries[:10], 20, DEFAULT)
    for found, given, query in zip(rows, scores, built.queries, strict=False):
        expected = float64_scores(built.vectors, query, built.spec.metric)[found]
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)


def test_a_squared_distance_is_small_and_a_product_large_for_the_nearest(built: Built) -> None:
    vector = built.vectors[5] / np.linalg.norm(built.vectors[5])
    _, scores = built.searcher.search(vector[None], 10, DEFAULT)
    assert scores[0, 0] != scores[0, -1]
    assert (scores[0, 0] < scores[0, -1]) == (built.spec.metric == "l2")


def test_the_best_comes_first(built: Built) -> None:
    _, scores = built.searcher.search(built.queries, 100, DEFAULT)
    steps = np.diff(scores, axis=1)
    assert np.all(steps >= 0) if built.spec.metric == "l2" else np.all(steps <= 0)


def test_answers_have_the_promised_types_and_no_row_twice(built: Built) -> None:
    rows, scores = built.searcher.search(built.queries, 40, DEFAULT)
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
    assert rows.shape == scores.shape == (len(built.queries), 40)
    assert all(len(set(row.tolist())) == 40 for row in rows)
    assert rows.min() >= 0
    assert rows.max() < len(built.vectors)


def test_one_hit_is_the_first_of_many(built: Built) -> None:
    one, _ = built.searcher.search(built.queries, 1, DEFAULT)
    many, _ = built.searcher.search(built.queries, 10, DEFAULT)
    assert one[:, 0].tolist() == many[:, 0].tolist()


def test_more_hits_than_items_are_padded(built: Built) -> None:
    rows, scores = built.searcher.search(built.queries[:3], len(built.vectors) + 5, DEFAULT)
    assert sorted(rows[0, :-5].tolist()) == list(range(len(built.vectors)))
    assert rows[:, -5:].tolist() == [[-1] * 5] * 3
    assert np.isnan(scores[:, -5:]).all()
    assert not np.isnan(scores[:, :-5]).any()


def test_a_batch_answers_as_its_queries_would_alone(built: Built) -> None:
    together = built.searcher.search(built.queries, 10, DEFAULT)
    alone = [built.searcher.search(query[None], 10, DEFAULT) for query in built.queries]
    np.testing.assert_array_equal(together[0], np.vstack([rows for rows, _ in alone]))
    np.testing.assert_array_equal(together[1], np.vstack([scores for _, scores in alone]))


def test_no_query_gets_no_answer(built: Built) -> None:
    rows, scores = built.searcher.search(np.empty((0, DIMENSION), np.float32), 10, DEFAULT)
    assert rows.shape == scores.shape == (0, 10)


def test_it_answers_the_same_when_opened_again_elsewhere(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.index_dir, tmp_path / "moved")
    mapped = tmp_path / "vectors.npy"
    np.save(mapped, built.vectors)
    again = registry.open_searcher(built.name, built.spec, tmp_path / "moved", np.load(mapped, mmap_mode="r"))
    for before, after in zip(
        built.searcher.search(built.queries, 20, DEFAULT), again.search(built.queries, 20, DEFAULT), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    assert (again.count, again.dimension) == built.vectors.shape


def test_searches_at_once_do_not_disturb_each_other(built: Built) -> None:
    """Different efforts, numbers of hits and batch sizes, from several threads, each answered as if alone."""
    calls = [(SearchEffort(ef=ef), top_k, size) for ef in (1, 30, 300) for top_k in (1, 10, 120) for size in (1, 20)]
    expected = [built.searcher.search(built.queries[:size], top_k, effort)[0] for effort, top_k, size in calls]

    until = time.monotonic() + ROUNDS_SECONDS_MAX

    def search(turn: int) -> bool:
        if turn >= len(calls) and time.monotonic() > until:
            return True
        effort, top_k, size = calls[turn % len(calls)]
        rows, _ = built.searcher.search(built.queries[:size], top_k, effort)
        return bool(np.array_equal(rows, expected[turn % len(calls)]))

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(search, range(ROUNDS * len(calls))))


def test_what_is_not_allowed_is_never_found(built: Built) -> None:
    if not registry.describe(built.name).filters:
        return
    mask = np.random.default_rng(1).random(len(built.vectors)) < 0.3
    rows, scores = built.searcher.search(built.queries, 20, DEFAULT, RowSet.of_mask(mask))
    assert (mask[rows] | (rows < 0)).all()
    assert (np.isnan(scores) == (rows < 0)).all()
    truth, _ = built.searcher.search(built.queries, 20, EXACT, RowSet.of_mask(mask))
    assert recall(rows, truth) >= 0.8
    for found, query in zip(truth[:20], built.queries, strict=False):
        ranked = float64_best(built.vectors, query, built.spec.metric, len(built.vectors))
        assert found.tolist() == ranked[mask[ranked]][:20].tolist()


def test_an_allowed_set_of_another_index_is_refused_or_any_where_none_can_be_kept_to(built: Built) -> None:
    filters = registry.describe(built.name).filters
    with pytest.raises(QueryInvalid, match="allowed") as refused:
        built.searcher.search(built.queries, 5, DEFAULT, RowSet.everything(len(built.vectors) + filters))
    assert refused.value.field == "allowed"


def test_equal_vectors_are_all_found_lower_rows_first(built: Built, tmp_path: Path) -> None:
    vectors = built.vectors.copy()
    copies = [3, 700, 701, 1500, 2999]
    vectors[copies] = vectors[3]
    searcher = build_and_open(built.name, built.spec, vectors, tmp_path)
    rows, scores = searcher.search(vectors[3][None], len(vectors), EXACT)
    at = rows[0].tolist().index(3)
    assert rows[0, at : at + 5].tolist() == copies
    assert len(set(scores[0, at : at + 5].tolist())) == 1
    found, given = searcher.search(vectors[3][None], 200, DEFAULT)
    at = found[0].tolist().index(3)
    assert found[0, at : at + 5].tolist() == copies
    assert len(set(given[0, at : at + 5].tolist())) == 1


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_nothing_but_one_vector_many_times_still_fills_the_answer(
    engine: str, partitions: int, metric: str, tmp_path: Path
) -> None:
    vectors = np.tile(np.linspace(0.1, 1, DIMENSION, dtype=np.float32), (2_000, 1))
    spec = IndexSpec(metric, DIMENSION, partitions=partitions)  # type: ignore[arg-type]
    searcher = build_and_open(engine, spec, vectors, tmp_path)
    rows, scores = searcher.search(vectors[:2], 50, DEFAULT)
    assert all(len(set(row.tolist())) == 50 for row in rows)
    assert rows.min() >= 0
    assert len(np.unique(scores)) == 1


def test_a_single_item_is_always_the_answer(engine: str, partitions: int, tmp_path: Path) -> None:
    vectors = np.array([[3.0, 4.0]], dtype=np.float32)
    searcher = build_and_open(engine, IndexSpec("l2", 2, partitions=partitions), vectors, tmp_path)
    rows, scores = searcher.search(np.zeros((1, 2), np.float32), 3, DEFAULT)
    assert rows.tolist() == [[0, -1, -1]]
    assert scores[0, 0] == 25
    assert np.isnan(scores[0, 1:]).all()


def test_progress_rises_to_the_number_of_rows(built: Built) -> None:
    assert built.progress == sorted(set(built.progress))
    assert built.progress[-1] == len(built.vectors)


def test_it_builds_from_a_read_only_map(engine: str, partitions: int, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(8, dtype=np.float32))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    searcher = build_and_open(engine, IndexSpec("ip", 8, partitions=partitions), mapped, tmp_path / "index")
    assert searcher.search(np.eye(8, dtype=np.float32), 1, DEFAULT)[0].ravel().tolist() == list(range(8))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"partitions": 0}, "partitions"),
        ({"partitions": PARTITIONS_MAX + 1}, "partitions"),
        ({"partitions": 2, "partition_rows": (3, 2)}, "partition_rows"),
        ({"metric": "hamming"}, "metric"),
        ({"dimension": 0}, "dimension"),
        ({"threads": 0}, "threads"),
        ({"params": {"colour": "red"}}, "params.colour"),
    ],
)
def test_it_refuses_a_spec_it_cannot_follow_and_names_the_field(
    engine: str, partitions: int, changed: dict[str, object], field: str, tmp_path: Path, four_rows: FourRows
) -> None:
    spec = IndexSpec(**({"metric": "ip", "dimension": 4, "partitions": partitions} | changed))  # type: ignore[arg-type]
    vectors = np.eye(4, dtype=np.float32)
    with pytest.raises(ParamsInvalid) as refused:
        registry.builder(engine).build(spec, vectors, tmp_path, print)
    assert refused.value.field == field
    assert field in str(refused.value)
    with pytest.raises(EngineError):
        registry.open_searcher(engine, spec, four_rows(engine, partitions), vectors)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.eye(5, dtype=np.float32), "dimension 5"),
        (np.eye(4), "float64"),
        (np.empty((0, 4), np.float32), "0 rows"),
        (np.asfortranarray(np.eye(4, dtype=np.float32)[:3]), "C-ordered"),
        (np.array([[1, 1, 1, 1], [1, np.nan, 1, 1]], np.float32), "row 1 holds NaN"),
        (np.array([[1, 1, 1, 1], [1, -np.inf, 1, 1]], np.float32), "row 1 holds NaN or infinity"),
    ],
)
def test_it_refuses_vectors_that_it_could_not_search(
    engine: str, partitions: int, vectors: np.ndarray, says: str, tmp_path: Path
) -> None:
    with pytest.raises(VectorsInvalid, match=says):
        registry.builder(engine).build(IndexSpec("ip", 4, partitions=partitions), vectors, tmp_path, print)


@pytest.mark.parametrize(
    ("query", "top_k"),
    [([1.0] * (DIMENSION - 1), 5), ([np.nan] * DIMENSION, 5), ([np.inf] * DIMENSION, 5), ([1.0] * DIMENSION, 0)],
    ids=["dimension", "nan", "infinity", "no hits"],
)
def test_it_refuses_a_query_that_has_no_answer(built: Built, query: list[float], top_k: int) -> None:
    with pytest.raises(QueryInvalid):
        built.searcher.search(np.array([query], np.float32), top_k, DEFAULT)


def test_an_index_holds_all_the_rows_that_it_was_built_from(built: Built) -> None:
    assert built.searcher.rows_held() == len(built.vectors)
    assert built.searcher.rows_held(until=time.monotonic() + 30) == built.searcher.count


def test_a_closed_searcher_says_so(engine: str, partitions: int, four_rows: FourRows) -> None:
    vectors = np.eye(4, dtype=np.float32)
    spec = IndexSpec("ip", 4, partitions=partitions)
    searcher = registry.open_searcher(engine, spec, four_rows(engine, partitions), vectors)
    searcher.close()
    searcher.close()
    with pytest.raises(SearcherClosed):
        searcher.search(vectors, 1, DEFAULT)
