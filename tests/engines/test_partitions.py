"""What partitions add to an engine: runs of rows, folders, threads, one ordered answer. Any engine will do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines import registry
from engines.base import Float32, IndexSearcher, IndexSpec, Int64, Progress, SearchEffort
from engines.errors import BuildFailed, EngineError, IndexMismatch, IndexUnreadable, SearcherClosed
from engines.metrics import blank_answer
from engines.partitioned import PARTITIONS_FILE, PartitionedBuilder, PartitionedSearcher, open_partitioned
from engines.rowset import RowSet
from tests.engines.data import DEFAULT, DIMENSION, build_and_open, items_and_queries

SPEC = IndexSpec("ip", 2, partitions=3, threads=2)
TEN = np.random.default_rng(1).standard_normal((10, 2), dtype=np.float32)
WAIT_SECONDS = 10


@st.composite
def divided_rows(draw: st.DrawFn) -> tuple[Float32, tuple[int, ...]]:
    """Few different vectors, so that scores are equal within and across partitions; some of these are empty."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=2, max_size=6).filter(any))
    values = draw(st.lists(st.tuples(*[st.integers(-2, 2)] * 2), min_size=sum(sizes), max_size=sum(sizes)))
    return np.array(values, dtype=np.float32), tuple(sizes)


@settings(deadline=None)
@given(
    divided=divided_rows(),
    metric=st.sampled_from(["ip", "l2"]),
    top_k=st.integers(1, 40),
    threads=st.integers(1, 4),
    query=st.tuples(*[st.integers(-2, 2)] * 2),
)
def test_an_exact_index_answers_the_same_in_one_partition_and_in_several(
    tmp_path_factory: pytest.TempPathFactory,
    divided: tuple[Float32, tuple[int, ...]],
    metric: Any,
    top_k: int,
    threads: int,
    query: tuple[int, int],
) -> None:
    vectors, sizes = divided
    spec = IndexSpec(metric, 2, partitions=len(sizes), partition_rows=sizes, threads=threads)
    folder = tmp_path_factory.mktemp("index")
    several = build_and_open("flat", spec, vectors, folder)
    one = registry.open_searcher("flat", IndexSpec(metric, 2), folder / "none", vectors)
    asked = np.array([query, (1, 0)], dtype=np.float32)
    for found, expected in zip(several.search(asked, top_k, DEFAULT), one.search(asked, top_k, DEFAULT), strict=True):
        np.testing.assert_array_equal(found, expected)
    several.close()


def test_each_partition_is_an_index_of_its_own_run_of_rows(engine: str, tmp_path: Path) -> None:
    vectors, queries = items_and_queries("ip")
    sizes = (1_000, 0, 1_500, 500)
    spec = IndexSpec("ip", DIMENSION, partitions=4, partition_rows=sizes, threads=2)
    build_and_open(engine, spec, vectors, tmp_path).close()
    assert json.loads((tmp_path / PARTITIONS_FILE).read_text()) == {"rows": list(sizes)}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "partition-0",
        "partition-2",
        "partition-3",
    ]
    alone = registry.open_searcher(
        engine, IndexSpec("ip", DIMENSION), tmp_path / "partition-2", np.ascontiguousarray(vectors[1_000:2_500])
    )
    assert alone.count == 1_500
    assert alone.search(queries[:1], 5, DEFAULT)[0].shape == (1, 5)


def test_rows_are_divided_evenly_where_nobody_says_how(tmp_path: Path) -> None:
    build_and_open("flat", SPEC, TEN, tmp_path)
    assert json.loads((tmp_path / PARTITIONS_FILE).read_text()) == {"rows": [4, 3, 3]}


def test_a_build_with_one_thread_a_partition_can_be_repeated_to_the_byte(engine: str, tmp_path: Path) -> None:
    vectors, _ = items_and_queries("ip")
    spec = IndexSpec("ip", DIMENSION, partitions=3, threads=2)
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
        registry.builder(engine).build(spec, vectors, tmp_path / name, int)
    once, twice = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in files(tmp_path / name)}
        for name in ("once", "twice")
    )
    # What lies at a server is the server's, and each build has a name of its own there.
    assert once.keys() == twice.keys()
    assert (once == twice) != registry.describe(engine).remote


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("written", "error", "says"),
    [
        (None, IndexUnreadable, "No such file"),
        ("", IndexUnreadable, "does not say"),
        ("[4, 3, 3]", IndexUnreadable, "does not say"),
        ('{"rows": 10}', IndexUnreadable, "does not say"),
        ('{"rows": [4, 3, "3"]}', IndexUnreadable, "does not say"),
        ('{"rows": [14, -7, 3]}', IndexUnreadable, "does not say"),
        ('{"rows": [5, 5]}', IndexMismatch, "2 partitions, expected 3"),
        ('{"rows": [4, 3, 4]}', IndexMismatch, "items 11, expected 10"),
    ],
)
def test_it_refuses_an_index_that_is_not_divided_as_it_should(
    tmp_path: Path, written: str | None, error: type[EngineError], says: str
) -> None:
    build_and_open("flat", SPEC, TEN, tmp_path)
    if written is None:
        (tmp_path / PARTITIONS_FILE).unlink()
    else:
        (tmp_path / PARTITIONS_FILE).write_text(written)
    with pytest.raises(error, match=says):
        registry.open_searcher("flat", SPEC, tmp_path, TEN)


def test_an_index_in_several_partitions_is_not_opened_as_one(engine: str, tmp_path: Path) -> None:
    build_and_open(engine, SPEC, TEN, tmp_path)
    with pytest.raises(EngineError) as refused:
        registry.open_searcher(engine, replace(SPEC, partitions=1), tmp_path, TEN)
    assert refused.value.field == "partitions"


class Paper:
    """An engine on paper: builds whatever it is told to, and answers when it may."""

    def __init__(self, vectors: Float32) -> None:
        self.count, self.dimension = vectors.shape
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()
        self.closed = False

    def search(
        self, queries: Float32, top_k: int, effort: SearchEffort, allowed: RowSet | None = None
    ) -> tuple[Int64, Float32]:
        if self.closed:
            raise SearcherClosed("closed")
        self.asked.set()
        assert self.may_answer.wait(WAIT_SECONDS)
        return blank_answer(len(queries), top_k)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[IndexSearcher, list[Paper]]]:
    """An index in three partitions, each on paper."""
    build_and_open("flat", SPEC, TEN, tmp_path)
    parts: list[Paper] = []

    def opener(spec: IndexSpec, index_dir: Path, vectors: Float32) -> Paper:
        parts.append(Paper(vectors))
        return parts[-1]

    searcher = open_partitioned(opener, SPEC, tmp_path, TEN)
    yield searcher, parts
    searcher.close()


def test_partitions_are_searched_at_the_same_time(opened: tuple[IndexSearcher, list[Paper]]) -> None:
    searcher, parts = opened
    for part in parts:
        part.may_answer.clear()
    asking = threading.Thread(target=searcher.search, args=(TEN[:1], 2, DEFAULT))
    asking.start()
    assert parts[0].asked.wait(WAIT_SECONDS)
    assert parts[1].asked.wait(WAIT_SECONDS)
    assert not parts[2].asked.is_set()  # Two threads are allowed.
    parts[0].may_answer.set()
    assert parts[2].asked.wait(WAIT_SECONDS)  # By the thread that asks, since the helper is not back.
    for part in parts:
        part.may_answer.set()
    asking.join(WAIT_SECONDS)
    assert not asking.is_alive()


def test_a_search_under_way_ends_as_it_would_have_when_the_index_is_closed(
    opened: tuple[IndexSearcher, list[Paper]],
) -> None:
    searcher, parts = opened
    parts[0].may_answer.clear()
    answers: list[tuple[Int64, Float32]] = []
    asking = threading.Thread(target=lambda: answers.append(searcher.search(TEN[:1], 2, DEFAULT)))
    asking.start()
    assert parts[0].asked.wait(WAIT_SECONDS)
    searcher.close()
    with pytest.raises(SearcherClosed):
        searcher.search(TEN[:1], 2, DEFAULT)
    assert not any(part.closed for part in parts)
    parts[0].may_answer.set()
    asking.join(WAIT_SECONDS)
    assert [rows.tolist() for rows, _ in answers] == [[[-1, -1]]]
    assert all(part.closed for part in parts)


def test_what_one_partition_says_is_wrong_reaches_the_caller(
    opened: tuple[IndexSearcher, list[Paper]], monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher, parts = opened

    def broken(*_: object) -> None:
        raise RuntimeError("torn")

    for part in parts:
        monkeypatch.setattr(part, "search", broken)
        with pytest.raises(RuntimeError, match="torn"):
            searcher.search(TEN[:1], 2, DEFAULT)
        monkeypatch.undo()
        assert searcher.search(TEN[:1], 2, DEFAULT)[0].tolist() == [[-1, -1]]


def test_an_index_of_which_one_partition_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    build_and_open("flat", SPEC, TEN, tmp_path)
    parts: list[Paper] = []

    def opener(spec: IndexSpec, index_dir: Path, vectors: Float32) -> Paper:
        if len(parts) == 2:
            raise IndexUnreadable("damaged")
        parts.append(Paper(vectors))
        return parts[-1]

    with pytest.raises(IndexUnreadable, match="damaged"):
        open_partitioned(opener, SPEC, tmp_path, TEN)
    assert [part.closed for part in parts] == [True, True]


class PaperBuilder:
    """Tells progress row by row; `at` is called before each one, with the number of rows that the partition has."""

    def __init__(self, at: Callable[[int], None], begun: Callable[[], object] = int) -> None:
        self._at, self._begun = at, begun
        self.specs: list[IndexSpec] = []

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:
        self.specs.append(spec)
        self._begun()
        for row in range(len(vectors)):
            self._at(len(vectors))
            progress(row + 1)


def test_a_build_tells_one_sum_in_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    building = PaperBuilder(lambda _: None)
    spec = replace(SPEC, partition_rows=(2, 5, 3))
    PartitionedBuilder(building).build(spec, TEN, tmp_path, lambda rows: told.append((rows, threading.get_ident())))
    assert told == [(rows, threading.get_ident()) for rows in range(1, 11)]
    assert {(part.partitions, part.partition_rows) for part in building.specs} == {(1, ())}


@pytest.mark.parametrize(("threads", "each", "at_once"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 4, 1)])
def test_a_build_keeps_to_its_threads(tmp_path: Path, threads: int, each: int, at_once: int) -> None:
    """As many partitions at a time as there are threads, or one after another on all of them."""
    together = threading.Barrier(at_once)
    under_way: set[int] = set()
    most = 0

    def at(_: int) -> None:
        nonlocal most
        under_way.add(threading.get_ident())
        most = max(most, len(under_way))

    building = PaperBuilder(at, begun=lambda: together.wait(WAIT_SECONDS) if len(building.specs) <= at_once else None)
    PartitionedBuilder(building).build(replace(SPEC, threads=threads), TEN, tmp_path, int)
    assert {part.threads for part in building.specs} == {each}
    assert most == at_once


def test_a_partition_that_fails_ends_the_others(tmp_path: Path) -> None:
    has_failed = threading.Event()

    def at(rows: int) -> None:
        if rows == 4:
            has_failed.set()
            raise BuildFailed("the disk is full")
        assert has_failed.wait(WAIT_SECONDS)

    told: list[int] = []
    with pytest.raises(BuildFailed, match="the disk is full"):
        PartitionedBuilder(PaperBuilder(at)).build(SPEC, TEN, tmp_path, told.append)
    assert len(told) < 6
    assert not (tmp_path / PARTITIONS_FILE).exists()


def test_a_caller_that_fails_to_hear_of_progress_ends_the_build(tmp_path: Path) -> None:
    def deaf(_: int) -> None:
        raise OSError("nobody listens")

    with pytest.raises(OSError, match="nobody listens"):
        PartitionedBuilder(PaperBuilder(lambda _: None)).build(SPEC, TEN, tmp_path, deaf)
    assert not (tmp_path / PARTITIONS_FILE).exists()


def test_one_thread_is_one_thread(tmp_path: Path) -> None:
    """What tunes an index measures milliseconds of a query on one thread."""
    spec = replace(SPEC, threads=1)
    searcher = build_and_open("flat", spec, TEN, tmp_path)
    assert isinstance(searcher, PartitionedSearcher)
    before = threading.active_count()
    searcher.search(TEN, 3, DEFAULT)
    assert threading.active_count() == before
