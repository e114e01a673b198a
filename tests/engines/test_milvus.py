"""What is peculiar to an engine that asks a server: what its files name, and what becomes of it without the server."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from engines import registry
from engines.base import Float32, IndexSearcher, IndexSpec, Int64, SearchEffort
from engines.errors import (
    BuildFailed,
    DeadlineOver,
    EngineError,
    EngineUnavailable,
    IndexMismatch,
    IndexUnreadable,
    ParamsInvalid,
    QueryInvalid,
    VectorsInvalid,
)
from engines.exact import ExactScan
from engines.metrics import blank_answer
from engines.milvus import collection as collections
from engines.milvus import searcher as searching
from engines.milvus.collection import Collection
from engines.milvus.connection import CollectionGone, NotLoaded, instance
from engines.milvus.params import REFERENCE_FILE, MilvusParams, probes
from engines.milvus.reference import read_reference, references_in
from tests.engines.data import DEFAULT, DIMENSION, build_and_open, float64_scores, items_and_queries, recall
from tests.support.milvus import MilvusServer, is_real, running_milvus

EXACT = SearchEffort(exact=True)
SPEC = IndexSpec("ip", DIMENSION)
FLAT = IndexSpec("ip", 4, params={"index_type": "FLAT"})
EYE = np.eye(4, dtype=np.float32)
BACK_SECONDS_MAX = 60.0
# Recall of those that the conformance suite does not build. Codes lose some; milvus-lite knows no IVF_PQ.
INDEX_TYPES = {"IVF_FLAT": 0.98, "FLAT": 0.98, **({"IVF_PQ": 0.8} if is_real() else {})}

pytestmark = pytest.mark.usefixtures("milvus")


@pytest.fixture(scope="module")
def built_dir(milvus: MilvusServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    registry.builder("milvus").build(SPEC, items_and_queries("ip")[0], folder, int)
    return folder


@pytest.fixture
def index_dir(built_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage; the collection is the same."""
    return Path(shutil.copytree(built_dir, tmp_path / "index"))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[MilvusServer]:
    """An instance that a test may kill."""
    with running_milvus() as server:
        monkeypatch.setenv("RECALL_MILVUS_INSTANCES", f"own={server.uri}")
        yield server


def names_of(where: str = "lite") -> set[str]:
    """The collections that the instance has."""
    return set(instance(where).tell(lambda client: client.list_collections()))


@pytest.mark.parametrize("index_type", INDEX_TYPES)
@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_every_index_finds_what_exact_search_finds_with_the_same_scores(
    index_type: str, metric: str, tmp_path: Path
) -> None:
    vectors, queries = items_and_queries(metric)  # type: ignore[arg-type]
    spec = IndexSpec(metric, DIMENSION, params={"index_type": index_type, "nlist": 32})  # type: ignore[arg-type]
    searcher = build_and_open("milvus", spec, vectors, tmp_path)
    truth, _ = searcher.search(queries, 10, EXACT)
    rows, scores = searcher.search(queries, 10, DEFAULT)
    assert recall(rows, truth) >= INDEX_TYPES[index_type]
    for found, given, query in zip(rows[:10], scores, queries, strict=False):
        expected = float64_scores(vectors, query, metric)[found]  # type: ignore[arg-type]
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "efforts"),
    [
        ({"M": 4, "ef_construction": 8}, [SearchEffort(ef=ef) for ef in (10, 40, 400)]),
        ({"index_type": "IVF_FLAT", "nlist": 64}, [SearchEffort(nprobe=nprobe) for nprobe in (1, 4, 32)]),
        ({"index_type": "IVF_FLAT", "nlist": 64}, [SearchEffort(ef=ef) for ef in (10, 40, 200)]),
    ],
    ids=["ef", "nprobe", "nprobe by ef"],
)
def test_more_effort_finds_more(params: dict[str, object], efforts: list[SearchEffort], tmp_path: Path) -> None:
    vectors = np.random.default_rng(5).standard_normal((5_000, 32), dtype=np.float32)
    queries = np.random.default_rng(6).standard_normal((50, 32), dtype=np.float32)
    searcher = build_and_open("milvus", IndexSpec("ip", 32, params=params), vectors, tmp_path)
    truth, _ = searcher.search(queries, 10, EXACT)
    found = [recall(searcher.search(queries, 10, effort)[0], truth) for effort in efforts]
    assert found[0] + 0.05 < found[1] < found[2]


def test_an_effort_costs_about_the_same_in_cells_as_in_a_graph() -> None:
    params = MilvusParams(index_type="IVF_FLAT", nlist=1_000)
    assert probes(params, 1_000_000, ef=200, nprobe=None) == 4
    assert probes(params, 1_000_000, ef=10_000, nprobe=None) == 160
    assert probes(params, 1_000_000, ef=200, nprobe=7) == 7
    assert probes(params, 1_000_000, ef=1, nprobe=None) == 1
    # Of few rows there are fewer cells, and no more are searched than there are.
    assert (params.cells(390), probes(params, 390, ef=200, nprobe=None)) == (10, 10)
    assert params.cells(1) == 1


@pytest.mark.parametrize("effort", [SearchEffort(ef=0), SearchEffort(nprobe=0), SearchEffort(nprobe=70_000)])
def test_it_refuses_an_effort_out_of_bounds(index_dir: Path, effort: SearchEffort) -> None:
    vectors, queries = items_and_queries("ip")
    with pytest.raises(QueryInvalid, match="is not within"):
        registry.open_searcher("milvus", SPEC, index_dir, vectors).search(queries, 10, effort)


def test_a_large_batch_is_asked_in_several_calls_and_more_hits_than_a_server_gives_are_scanned_for(
    index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = items_and_queries("ip")
    searcher = registry.open_searcher("milvus", SPEC, index_dir, vectors)
    whole = searcher.search(queries, 10, DEFAULT)
    monkeypatch.setattr(searching, "HITS_PER_CALL_MAX", 70)
    for before, after in zip(whole, searcher.search(queries, 10, DEFAULT), strict=True):
        np.testing.assert_array_equal(before, after)
    exact, _ = searcher.search(queries, 60, EXACT)
    monkeypatch.setattr(searching, "TOP_K_AT_SERVER_MAX", 50)
    assert searcher.search(queries, 60, SearchEffort(ef=1))[0].tolist() == exact.tolist()


@pytest.mark.parametrize(("index_type", "queries_of_calls"), [("HNSW", [7, 7, 6]), ("IVF_PQ", [1] * 20)])
def test_a_call_asks_for_no_more_hits_than_it_may_also_where_more_than_top_k_are_looked_up(
    index_type: str, queries_of_calls: list[int], index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = items_and_queries("ip")
    searcher = registry.open_searcher("milvus", SPEC, index_dir, vectors)
    asked: list[tuple[int, int]] = []

    def search(self: Collection, queries: Float32, top_k: int, *_: object) -> tuple[Int64, Float32]:
        asked.append((len(queries), top_k))
        rows = np.tile(np.arange(top_k), (len(queries), 1))
        return rows, np.zeros(rows.shape, np.float32)

    monkeypatch.setattr(Collection, "search", search)
    # What a searcher of codes does differently; no collection of milvus-lite has any.
    monkeypatch.setattr(searcher, "_coded", index_type == "IVF_PQ")
    monkeypatch.setattr(searching, "HITS_PER_CALL_MAX", 70)
    searcher.search(queries[:20], 10, DEFAULT)
    assert [number for number, _ in asked] == queries_of_calls
    assert all(number * hits <= 70 for number, hits in asked)


@pytest.fixture
def few_in_a_cell(tmp_path: Path) -> IndexSearcher:
    """Cells of about 47 rows each."""
    spec = IndexSpec("ip", DIMENSION, params={"index_type": "IVF_FLAT", "nlist": 64})
    return build_and_open("milvus", spec, items_and_queries("ip")[0], tmp_path)


@pytest.mark.parametrize("top_k", [100, 300])
def test_who_names_fewer_cells_than_hold_top_k_is_answered_from_more_cells_and_by_no_scan_of_all_rows(
    few_in_a_cell: IndexSearcher, top_k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = items_and_queries("ip")[1][:20]
    truth, _ = few_in_a_cell.search(queries, top_k, EXACT)
    asked: list[tuple[int, int]] = []
    search = Collection.search

    def noted(
        self: Collection, queries: Float32, top_k: int, params: Mapping[str, int], until: float | None = None
    ) -> tuple[Int64, Float32]:
        asked.append((len(queries), params["nprobe"]))
        return search(self, queries, top_k, params, until)

    def scan(*_: object, **__: object) -> None:
        pytest.fail("it scans all rows")

    monkeypatch.setattr(Collection, "search", noted)
    monkeypatch.setattr(ExactScan, "search", scan)
    rows, _ = few_in_a_cell.search(queries, top_k, SearchEffort(nprobe=1))
    assert (rows >= 0).all()
    (first, named), (short, further) = asked
    assert (first, named) == (len(queries), 1)
    assert 0 < short <= first
    # Four times top_k by the mean of the cells, and not all of them.
    assert further == ceil(4 * top_k * 64 / 3_000) < 64
    assert recall(rows, truth) > 0.5


def test_what_more_cells_do_not_hold_either_is_scanned_for_while_somebody_waits(
    few_in_a_cell: IndexSearcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = items_and_queries("ip")[1][:20]
    monkeypatch.setattr(searching, "HELD_RATIO", 1)
    soon = time.monotonic() + 30
    rows, _ = few_in_a_cell.search(queries, 300, SearchEffort(nprobe=1, until=soon))
    assert (rows >= 0).all()
    exact, _ = few_in_a_cell.search(queries, 300, EXACT)
    # At least one of them had to be, and is exact then.
    assert (rows == exact).all(axis=1).any()

    def late(self: Collection, queries: Float32, top_k: int, *_: object) -> tuple[Int64, Float32]:
        """Gives nothing, and takes until nobody waits."""
        time.sleep(max(0.0, until - time.monotonic()))
        return blank_answer(len(queries), top_k)

    monkeypatch.setattr(Collection, "search", late)
    until = time.monotonic() + 0.2
    with pytest.raises(DeadlineOver, match="the deadline passed"):
        few_in_a_cell.search(queries, 300, SearchEffort(nprobe=1, until=until))


def test_a_torn_graph_is_not_scanned_for_when_nobody_waits(index_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = items_and_queries("ip")
    searcher = registry.open_searcher("milvus", SPEC, index_dir, vectors)

    def nothing(self: Collection, queries: Float32, top_k: int, *_: object) -> tuple[Int64, Float32]:
        return blank_answer(len(queries), top_k)

    monkeypatch.setattr(Collection, "search", nothing)
    exact = searcher.search(queries, 10, EXACT)
    for found, wanted in zip(searcher.search(queries, 10, DEFAULT), exact, strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(DeadlineOver):
        searcher.search(queries, 10, SearchEffort(until=time.monotonic()))


def test_the_file_of_an_index_names_its_collection_and_holds_no_address(built_dir: Path, milvus: MilvusServer) -> None:
    assert [path.name for path in built_dir.iterdir()] == [REFERENCE_FILE]
    text = (built_dir / REFERENCE_FILE).read_text()
    told = json.loads(text)
    assert told.pop("collection") in names_of()
    assert told == {
        "format": 1,
        "instance": "lite",
        "index_type": "HNSW",
        "metric": "ip",
        "dimension": DIMENSION,
        "rows": 3_000,
    }
    assert str(milvus.port) not in text


@pytest.mark.parametrize(
    ("spec", "rows", "field"),
    [
        (SPEC, 2_999, "items"),
        (IndexSpec("ip", DIMENSION // 2), 3_000, "dimension"),
        (IndexSpec("l2", DIMENSION), 3_000, "metric"),
        (IndexSpec("ip", DIMENSION, params={"index_type": "FLAT"}), 3_000, "index_type"),
    ],
)
def test_it_refuses_an_index_of_another_spec(index_dir: Path, spec: IndexSpec, rows: int, field: str) -> None:
    vectors = np.ascontiguousarray(items_and_queries("ip")[0][:rows, : spec.dimension])
    with pytest.raises(IndexMismatch) as refused:
        registry.open_searcher("milvus", spec, index_dir, vectors)
    assert refused.value.field == field


def test_it_refuses_a_collection_of_other_vectors_and_one_of_fewer_rows(index_dir: Path, tmp_path: Path) -> None:
    vectors, _ = items_and_queries("ip")
    with pytest.raises(IndexMismatch, match="other vectors"):
        registry.open_searcher("milvus", SPEC, index_dir, vectors[::-1].copy())
    registry.builder("milvus").build(SPEC, vectors[:100], tmp_path, int)
    told = json.loads((index_dir / REFERENCE_FILE).read_text())
    told["collection"] = read_reference(tmp_path).collection
    (index_dir / REFERENCE_FILE).write_text(json.dumps(told))
    with pytest.raises(IndexMismatch, match="items 100, expected 3000"):
        registry.open_searcher("milvus", SPEC, index_dir, vectors)


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', '{"collection": "", "instance": "lite"}', "[]"])
def test_it_refuses_a_file_that_names_no_collection(index_dir: Path, text: str) -> None:
    (index_dir / REFERENCE_FILE).write_text(text)
    with pytest.raises(IndexUnreadable, match="which collection"):
        registry.open_searcher("milvus", SPEC, index_dir, items_and_queries("ip")[0])
    (index_dir / REFERENCE_FILE).unlink()
    with pytest.raises(IndexUnreadable, match="No such file"):
        registry.open_searcher("milvus", SPEC, index_dir, items_and_queries("ip")[0])


def test_a_build_that_fails_takes_its_collection_with_it_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names_of()
    vectors = EYE.copy()
    vectors[2, 1] = np.nan
    with pytest.raises(VectorsInvalid, match="row 2"):
        registry.builder("milvus").build(FLAT, vectors, tmp_path, int)
    # No server measures vectors of numbers by it; it says so when everything is inserted.
    monkeypatch.setattr(collections, "METRICS", {"ip": "HAMMING"})
    with pytest.raises(BuildFailed, match=r"(?i)metric"):
        registry.builder("milvus").build(FLAT, EYE, tmp_path, int)
    assert names_of() == before
    assert list(tmp_path.iterdir()) == []


def test_codes_must_divide_the_dimension(tmp_path: Path) -> None:
    assert [MilvusParams().codes(dimension) for dimension in (64, 30, 7, 2)] == [16, 6, 1, 1]
    spec = IndexSpec("ip", 4, params={"index_type": "IVF_PQ", "pq_codes": 3})
    with pytest.raises(ParamsInvalid, match="no multiple of 3") as refused:
        registry.builder("milvus").build(spec, EYE, tmp_path, int)
    assert refused.value.field == "params.pq_codes"


def test_the_name_of_a_collection_is_on_the_disk_before_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names_of()
    named: list[str] = []

    def create(self: Collection, dimension: int, about: str) -> None:
        assert self.name not in names_of()
        named.extend([read_reference(tmp_path).collection, self.name])
        raise BuildFailed("no")

    with monkeypatch.context() as dying:
        dying.setattr(Collection, "create", create)
        with pytest.raises(BuildFailed):
            registry.builder("milvus").build(FLAT, EYE, tmp_path, int)
    assert len(set(named)) == 1
    assert names_of() == before
    # One that says it has failed leaves no name: there is nothing to remove.
    assert list(tmp_path.iterdir()) == []


def test_collections_are_dropped_but_those_that_an_index_which_stays_is_made_of(tmp_path: Path) -> None:
    parted = IndexSpec("ip", 4, partitions=3, params={"index_type": "FLAT"})
    going, staying, other = (tmp_path / name for name in ("going", "staying", "other"))
    build_and_open("milvus", parted, EYE, going)
    build_and_open("milvus", FLAT, EYE, staying)
    shutil.copytree(going / "partition-1", other / "partition-1")
    named = {read_reference(going / f"partition-{part}").collection for part in range(3)}
    shared, kept = read_reference(other / "partition-1").collection, read_reference(staying).collection
    assert registry.is_more_than_files(going)
    assert registry.remove([going], [staying, other]) == {}
    assert named & names_of() == {shared}
    # Again, and beside one that is no index at all: what is gone is what was asked for.
    assert registry.remove([going, tmp_path / "nowhere"], [staying]) == {}
    assert named.isdisjoint(names_of())
    assert kept in names_of()


def test_nothing_is_dropped_while_an_index_that_stays_cannot_be_read(tmp_path: Path) -> None:
    build_and_open("milvus", FLAT, EYE, tmp_path / "going")
    (tmp_path / "staying").mkdir()
    (tmp_path / "staying" / REFERENCE_FILE).write_text("{")
    with pytest.raises(IndexUnreadable):
        registry.remove([tmp_path / "going"], [tmp_path / "staying"])
    assert read_reference(tmp_path / "going").collection in names_of()


def test_a_name_that_is_not_ours_is_never_dropped(tmp_path: Path) -> None:
    build_and_open("milvus", FLAT, EYE, tmp_path)
    told = json.loads((tmp_path / REFERENCE_FILE).read_text())
    (tmp_path / REFERENCE_FILE).write_text(json.dumps({**told, "collection": "somebody_elses"}))
    assert registry.remove([tmp_path], []) == {tmp_path: "collection.json does not say which collection the index is"}


def test_an_instance_that_is_away_keeps_its_own_collections_and_no_others(
    milvus: MilvusServer, own: MilvusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", f"own={own.uri},lite={milvus.uri}")
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for folder in (first, third):
        build_and_open("milvus", FLAT, EYE, folder)
    build_and_open("milvus", replace(FLAT, beside=(str(first),)), EYE, second)
    assert [read_reference(each).instance for each in (first, second, third)] == ["own", "lite", "own"]
    own.kill()
    left = registry.remove([first, second, third], [])
    assert left.keys() == {first, third}
    assert "own" in left[first]
    assert read_reference(second).collection not in names_of()
    own.start()
    until = time.monotonic() + BACK_SECONDS_MAX
    while registry.remove([first, second, third], []):
        assert time.monotonic() < until
    assert names_of("own") == set()


def test_a_collection_that_vanished_is_noticed_by_searches_and_by_who_opens_it(tmp_path: Path) -> None:
    searcher = build_and_open("milvus", FLAT, EYE, tmp_path)
    Collection(instance("lite"), read_reference(tmp_path).collection).drop()
    with pytest.raises(CollectionGone) as missed:
        searcher.search(EYE, 1, DEFAULT)
    assert not isinstance(missed.value, EngineUnavailable)
    with pytest.raises(IndexUnreadable, match=r"recall_\w+ is gone from the instance lite"):
        registry.open_searcher("milvus", FLAT, tmp_path, EYE)


def test_a_collection_that_somebody_released_is_loaded_again(tmp_path: Path) -> None:
    searcher = build_and_open("milvus", FLAT, EYE, tmp_path)
    name = read_reference(tmp_path).collection
    instance("lite").tell(lambda client: client.release_collection(name))
    with pytest.raises(NotLoaded):
        searcher.search(EYE, 1, DEFAULT)
    answers_again(searcher)


def test_an_instance_that_dies_is_unavailable_at_once_and_found_when_it_is_back(
    own: MilvusServer, tmp_path: Path
) -> None:
    searcher = build_and_open("milvus", FLAT, EYE, tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    own.kill()
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match="own"):
        searcher.search(EYE, 1, DEFAULT)
    with pytest.raises(EngineUnavailable) as not_opened:
        registry.open_searcher("milvus", FLAT, tmp_path, EYE)
    with pytest.raises(EngineUnavailable) as not_built:
        registry.builder("milvus").build(FLAT, EYE, again, int)
    # Tenants read it; where the instance is, is for administrators to know.
    assert str(own.port) not in f"{not_opened.value.message} {not_built.value.message}"
    # Whether the server has made anything of it nobody knows, so that its name is kept.
    assert len(references_in(again)) == 1
    assert time.monotonic() - started < 5
    own.start()
    answers_again(searcher)


def test_an_instance_that_is_silent_is_unavailable_after_the_time_limit(
    own: MilvusServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = build_and_open("milvus", FLAT, EYE, tmp_path)
    monkeypatch.setattr(collections, "CALL_SECONDS_MAX", 0.5)
    own.freeze()
    started = time.monotonic()
    with pytest.raises(EngineUnavailable):
        searcher.search(EYE, 1, DEFAULT)
    assert 0.4 < time.monotonic() - started < 5
    own.thaw()
    answers_again(searcher)


def test_an_index_on_an_instance_that_is_not_configured_says_which(
    index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "green=http://127.0.0.1:1")
    with pytest.raises(EngineUnavailable, match=r"the instance lite.*not one of RECALL_MILVUS_INSTANCES"):
        registry.open_searcher("milvus", SPEC, index_dir, items_and_queries("ip")[0])


def answers_again(searcher: object) -> None:
    """Waits until it does, and refuses meanwhile what is not a passing trouble."""
    until = time.monotonic() + BACK_SECONDS_MAX
    while time.monotonic() < until:
        try:
            assert searcher.search(EYE, 1, DEFAULT)[0].ravel().tolist() == [0, 1, 2, 3]  # type: ignore[attr-defined]
        except EngineError as error:
            assert isinstance(error, EngineUnavailable)  # noqa: PT017
            time.sleep(0.1)
        else:
            return
    pytest.fail("it does not answer again")
