"""What is peculiar to faiss: its codes, its threads, its loader."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from engines import registry
from engines.base import IndexSpec, SearchEffort
from engines.errors import EngineError, IndexMismatch, IndexUnreadable, ParamsInvalid, QueryInvalid
from engines.faiss.header import INDEX_FILE
from engines.faiss.library import keep_to_threads
from engines.graph import EF_MAX
from engines.rowset import RowSet
from tests.engines.data import DEFAULT, DIMENSION, build_and_open, float64_scores, items_and_queries, recall

SPEC = IndexSpec("ip", DIMENSION)
CODED = IndexSpec("ip", DIMENSION, params={"storage": "SQ8"})


@pytest.fixture(scope="module")
def built_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_and_open("faiss", SPEC, items_and_queries("ip")[0], folder)
    return folder


@pytest.fixture
def index_dir(built_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(built_dir, tmp_path / "index"))


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_codes_take_a_quarter_and_find_as_much_with_exact_scores(metric: str, tmp_path: Path) -> None:
    vectors, queries = items_and_queries(metric)  # type: ignore[arg-type]
    plain = IndexSpec(metric, DIMENSION)  # type: ignore[arg-type]
    coded = IndexSpec(metric, DIMENSION, params={"storage": "SQ8"})  # type: ignore[arg-type]
    build_and_open("faiss", plain, vectors, tmp_path / "plain")
    searcher = build_and_open("faiss", coded, vectors, tmp_path / "coded")
    saved = (tmp_path / "plain" / INDEX_FILE).stat().st_size - (tmp_path / "coded" / INDEX_FILE).stat().st_size
    assert saved == pytest.approx(3 * DIMENSION * len(vectors), rel=0.01)
    truth, _ = searcher.search(queries, 10, SearchEffort(exact=True))
    rows, scores = searcher.search(queries, 10, DEFAULT)
    assert recall(rows, truth) >= 0.98
    for found, given, query in zip(rows[:10], scores, queries, strict=False):
        np.testing.assert_array_equal(given, float64_scores(vectors, query, metric)[found])  # type: ignore[arg-type]


def test_more_effort_finds_more(tmp_path: Path) -> None:
    vectors = np.random.default_rng(5).standard_normal((5_000, 64), dtype=np.float32)
    searcher = build_and_open("faiss", IndexSpec("ip", 64), vectors, tmp_path)
    queries = np.random.default_rng(6).standard_normal((50, 64), dtype=np.float32)
    truth, _ = searcher.search(queries, 10, SearchEffort(exact=True))
    found = [np.isin(searcher.search(queries, 10, SearchEffort(ef=ef))[0], truth).mean() for ef in (10, 100, 1_000)]
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("ef", [0, EF_MAX + 1])
def test_it_refuses_an_effort_out_of_bounds(index_dir: Path, ef: int) -> None:
    vectors, queries = items_and_queries("ip")
    with pytest.raises(QueryInvalid, match="ef"):
        registry.open_searcher("faiss", SPEC, index_dir, vectors).search(queries, 10, SearchEffort(ef=ef))


def test_a_build_with_one_thread_can_be_repeated_to_the_byte(tmp_path: Path) -> None:
    files = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        build_and_open("faiss", IndexSpec("ip", DIMENSION, seed=seed), items_and_queries("ip")[0], tmp_path / name)
        files.append((tmp_path / name / INDEX_FILE).read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_search_starts_no_thread_of_the_library(tmp_path: Path) -> None:
    """Threads of OpenMP would spin on cores that other queries need; here they are counted in a fresh process."""
    code = (
        "import os, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from engines import registry\nfrom engines.base import IndexSpec, SearchEffort\n"
        "from tests.engines.data import DIMENSION, items_and_queries\n"
        "vectors, queries = items_and_queries('ip')\n"
        "spec = IndexSpec('ip', DIMENSION, threads=2)\n"
        "searcher = registry.open_searcher('faiss', spec, Path(sys.argv[1]), vectors)\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "searcher.search(queries, 10, SearchEffort())\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    build_and_open("faiss", SPEC, items_and_queries("ip")[0], tmp_path)
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    # The one that it was allowed beside the caller's own.
    assert int(ended.stdout) == 1


def test_every_thread_says_for_itself_how_many_the_library_may_use() -> None:
    found: list[int] = []

    def ask() -> None:
        keep_to_threads(3)
        found.append(faiss.omp_get_max_threads())

    keep_to_threads(1)
    other = threading.Thread(target=ask)
    other.start()
    other.join()
    assert (found, faiss.omp_get_max_threads()) == ([3], 1)


def test_its_blas_keeps_to_one_thread_too() -> None:
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    assert len(blas) >= 1
    assert {library["num_threads"] for library in blas} == {1}


@pytest.mark.parametrize("kept", [0, 40, 50_000, -1])
def test_it_refuses_a_cut_file(index_dir: Path, kept: int) -> None:
    file = index_dir / INDEX_FILE
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(IndexUnreadable):
        registry.open_searcher("faiss", SPEC, index_dir, items_and_queries("ip")[0])


def test_it_refuses_a_missing_file_and_one_with_something_behind_it(index_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexUnreadable, match="No such file"):
        registry.open_searcher("faiss", SPEC, tmp_path, items_and_queries("ip")[0])
    file = index_dir / INDEX_FILE
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(IndexUnreadable, match="no index of this spec"):
        registry.open_searcher("faiss", SPEC, index_dir, items_and_queries("ip")[0])


def test_it_refuses_an_index_of_other_vectors(index_dir: Path, tmp_path: Path) -> None:
    vectors, _ = items_and_queries("ip")
    with pytest.raises(IndexMismatch, match="other vectors"):
        registry.open_searcher("faiss", SPEC, index_dir, vectors[::-1].copy())
    build_and_open("faiss", CODED, vectors, tmp_path / "coded")
    with pytest.raises(IndexMismatch, match="other vectors"):
        registry.open_searcher("faiss", CODED, tmp_path / "coded", vectors[::-1].copy())


@pytest.mark.parametrize(
    ("spec", "rows", "field"),
    [
        (SPEC, 2_999, "items"),
        (IndexSpec("ip", DIMENSION // 2), 3_000, "dimension"),
        (IndexSpec("ip", DIMENSION, params={"M": 32}), 3_000, "M"),
        (IndexSpec("l2", DIMENSION), 3_000, "metric"),
    ],
)
def test_it_refuses_an_index_of_another_spec(index_dir: Path, spec: IndexSpec, rows: int, field: str) -> None:
    vectors = np.ascontiguousarray(items_and_queries("ip")[0][:rows, : spec.dimension])
    with pytest.raises(IndexMismatch) as refused:
        registry.open_searcher("faiss", spec, index_dir, vectors)
    assert refused.value.field == field


def test_it_refuses_an_index_of_the_other_storage(index_dir: Path) -> None:
    with pytest.raises(EngineError):
        registry.open_searcher("faiss", CODED, index_dir, items_and_queries("ip")[0])


def test_a_storage_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid) as refused:
        build_and_open(
            "faiss", IndexSpec("ip", DIMENSION, params={"storage": "PQ"}), items_and_queries("ip")[0], tmp_path
        )
    assert refused.value.field == "params.storage"


def test_few_allowed_items_may_leave_a_graph_short_and_never_wrong(index_dir: Path) -> None:
    """Whoever searches with few allowed rows has to look again; see replicas/subsets.py."""
    vectors, queries = items_and_queries("ip")
    searcher = registry.open_searcher("faiss", SPEC, index_dir, vectors)
    mask = np.zeros(len(vectors), bool)
    mask[[5, 700, 2_999]] = True
    rows, scores = searcher.search(queries, 5, SearchEffort(ef=20), RowSet.of_mask(mask))
    assert set(np.unique(rows)) <= {-1, 5, 700, 2_999}
    assert np.isnan(scores[rows < 0]).all()
    exact, _ = searcher.search(queries, 5, SearchEffort(exact=True), RowSet.of_mask(mask))
    assert {tuple(sorted(row)) for row in exact.tolist()} == {(-1, -1, 5, 700, 2_999)}


@pytest.mark.servers
def test_a_damaged_file_that_passes_the_checks_does_not_end_the_process(index_dir: Path) -> None:
    """Links are believed by the library; files are verified by their checksum before they are opened. What a damaged
    one does then is only tried in a process of its own."""
    file = index_dir / INDEX_FILE
    sound = bytearray(file.read_bytes())
    random = np.random.default_rng(3)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from engines import registry\nfrom engines.errors import EngineError\n"
        "from tests.engines.test_faiss import SPEC\nfrom tests.engines.data import items_and_queries\n"
        "try:\n    registry.open_searcher('faiss', SPEC, Path(sys.argv[1]), items_and_queries('ip')[0])\n"
        "except EngineError as error:\n    print(error.reason)\n"
    )
    for at in random.integers(0, len(sound), 5):
        file.write_bytes(bytes(sound[:at]) + bytes([sound[at] ^ 0xFF]) + bytes(sound[at + 1 :]))
        ended = subprocess.run(
            [sys.executable, "-c", code, str(index_dir)], env=os.environ, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
