"""What is peculiar to hnswlib: its ef, its refusals, its trusting loader."""

from __future__ import annotations

import shutil
from pathlib import Path

import hnswlib
import numpy as np
import psutil
import pytest

from engines import registry
from engines.base import IndexSpec, SearchEffort
from engines.errors import EngineError, IndexMismatch, IndexUnreadable, QueryInvalid
from engines.graph import EF_MAX
from engines.hnsw import searcher as searcher_module
from engines.hnsw.header import HEAD, INDEX_FILE
from engines.hnsw.searcher import HnswSearcher
from tests.engines.data import DEFAULT, DIMENSION, build_and_open, items_and_queries

SPEC = IndexSpec("ip", DIMENSION)
TORN_SPEC = IndexSpec("l2", 16, params={"M": 4})
TORN_K = 300


@pytest.fixture(scope="module")
def built_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_and_open("hnsw", SPEC, items_and_queries("ip")[0], folder)
    return folder


@pytest.fixture
def index_dir(built_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(built_dir, tmp_path / "index"))


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> tuple[HnswSearcher, np.ndarray]:
    """Ten vectors, three hundred times each: the graph is torn, and a search for many is refused for some queries."""
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((10, 16), dtype=np.float32)[rng.integers(10, size=3_000)]
    searcher = build_and_open("hnsw", TORN_SPEC, vectors, tmp_path_factory.mktemp("torn"))
    assert isinstance(searcher, HnswSearcher)
    queries = rng.standard_normal((100, 16), dtype=np.float32)
    assert 0 < sum(_refuses(searcher, query) for query in queries) < len(queries)
    return searcher, queries


def _refuses(searcher: HnswSearcher, query: np.ndarray) -> bool:
    assert searcher._index is not None
    try:
        searcher._index.knn_query(query, k=TORN_K)
    except RuntimeError:
        return True
    return False


def test_a_saved_index_answers_as_the_library_does_in_memory(index_dir: Path) -> None:
    vectors, queries = items_and_queries("ip")
    index = hnswlib.Index(space="ip", dim=DIMENSION)
    index.init_index(len(vectors), 16, 200, random_seed=SPEC.seed)
    index.add_items(vectors, num_threads=1)
    index.set_ef(80)
    labels, distances = index.knn_query(queries, k=10)
    rows, scores = registry.open_searcher("hnsw", SPEC, index_dir, vectors).search(queries, 10, SearchEffort(ef=80))
    np.testing.assert_array_equal(rows, labels)
    np.testing.assert_array_equal(scores, 1 - distances)


def test_more_effort_finds_more(tmp_path: Path) -> None:
    vectors = np.random.default_rng(5).standard_normal((5_000, 64), dtype=np.float32)
    searcher = build_and_open("hnsw", IndexSpec("ip", 64), vectors, tmp_path)
    queries = np.random.default_rng(6).standard_normal((50, 64), dtype=np.float32)
    truth, _ = searcher.search(queries, 10, SearchEffort(exact=True))
    found = [np.isin(searcher.search(queries, 10, SearchEffort(ef=ef))[0], truth).mean() for ef in (10, 100, 1_000)]
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("ef", [0, EF_MAX + 1])
def test_it_refuses_an_effort_out_of_bounds(index_dir: Path, ef: int) -> None:
    vectors, queries = items_and_queries("ip")
    with pytest.raises(QueryInvalid, match="ef"):
        registry.open_searcher("hnsw", SPEC, index_dir, vectors).search(queries, 10, SearchEffort(ef=ef))


def test_queries_that_the_graph_cannot_fill_are_answered_exactly(torn: tuple[HnswSearcher, np.ndarray]) -> None:
    searcher, queries = torn
    rows, scores = searcher.search(queries, TORN_K, DEFAULT)
    truth, best = searcher.search(queries, TORN_K, SearchEffort(exact=True))
    assert rows.min() >= 0
    short = [_refuses(searcher, query) for query in queries]
    np.testing.assert_array_equal(rows[short], truth[short])
    np.testing.assert_array_equal(scores[short], best[short])


def test_few_hits_still_come_from_a_torn_graph(torn: tuple[HnswSearcher, np.ndarray]) -> None:
    searcher, queries = torn
    searcher.search(queries, TORN_K, DEFAULT)
    assert 5 < searcher._refused_from <= TORN_K
    lost = searcher._lost_bytes
    rows, _ = searcher.search(queries, 5, SearchEffort(ef=5))
    assert rows.min() >= 0
    assert searcher._lost_bytes == lost


def test_refusals_do_not_lose_memory_without_end(
    torn: tuple[HnswSearcher, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refused call leaks inside hnswlib: 300 hits lose 3.6 kB."""
    searcher, queries = torn
    refused = next(query for query in queries if _refuses(searcher, query))[None]
    monkeypatch.setattr(searcher_module, "LOST_BYTES_MAX", 400_000)
    for _ in range(150):
        searcher.search(refused, TORN_K, DEFAULT)
    before = psutil.Process().memory_info().rss
    for _ in range(3_000):
        rows, _ = searcher.search(refused, TORN_K, DEFAULT)
    assert rows.min() >= 0
    assert psutil.Process().memory_info().rss - before < 3_000 * TORN_K * 12 / 2


@pytest.mark.parametrize("kept", [0, HEAD.size - 1, HEAD.size, 50_000])
def test_it_refuses_a_cut_file(index_dir: Path, kept: int) -> None:
    file = index_dir / INDEX_FILE
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(IndexUnreadable):
        registry.open_searcher("hnsw", SPEC, index_dir, items_and_queries("ip")[0])


def test_it_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IndexUnreadable, match="No such file"):
        registry.open_searcher("hnsw", SPEC, tmp_path, items_and_queries("ip")[0])


def test_it_refuses_a_file_with_a_damaged_head(index_dir: Path) -> None:
    """Any changed byte of its sizes and limits, before the library sees them: its loader would trust them. (The entry
    point, bytes 52 to 55, may be any row; that is for the checksum.)"""
    file = index_dir / INDEX_FILE
    sound = file.read_bytes()
    for at in (*range(52), *range(56, 80)):
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :])
        with pytest.raises(EngineError):
            registry.open_searcher("hnsw", SPEC, index_dir, items_and_queries("ip")[0])


def test_it_refuses_an_index_of_other_vectors(index_dir: Path) -> None:
    vectors, _ = items_and_queries("ip")
    with pytest.raises(IndexMismatch, match="other vectors"):
        registry.open_searcher("hnsw", SPEC, index_dir, vectors[::-1].copy())


@pytest.mark.parametrize(
    ("spec", "rows", "field"),
    [
        (SPEC, 2_999, "items"),
        (IndexSpec("ip", DIMENSION // 2), 3_000, "dimension"),
        (IndexSpec("ip", DIMENSION, params={"M": 32}), 3_000, "M"),
    ],
)
def test_it_refuses_an_index_of_another_spec(index_dir: Path, spec: IndexSpec, rows: int, field: str) -> None:
    vectors = np.ascontiguousarray(items_and_queries("ip")[0][:rows, : spec.dimension])
    with pytest.raises(IndexMismatch) as refused:
        registry.open_searcher("hnsw", spec, index_dir, vectors)
    assert refused.value.field == field
