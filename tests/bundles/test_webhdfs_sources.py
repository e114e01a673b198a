"""Sources in HDFS, against Hadoop's own MiniDFSCluster: found, fetched, inspected, and kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundles import fetching, places, sources
from bundles.errors import BundleError, DropError
from bundles.fetching import fetch_drop
from bundles.importing import import_items
from bundles.places import Source, WebhdfsLocation
from tests.bundles.making import INT64, SMALL, complete, vectors, write_parquet
from tests.support.hdfs import Hdfs, running_hdfs
from tests.support.sources_file import write_sources

pytestmark = pytest.mark.servers

ROWS = 40


@pytest.fixture(scope="module")
def hdfs() -> Iterator[Hdfs]:
    with running_hdfs() as hdfs:
        yield hdfs


@pytest.fixture
def settings_file(hdfs: Hdfs, tmp_path: Path) -> Path:
    return write_sources(tmp_path / "sources.toml", {"films": {"webhdfs": [hdfs.place()]}})


@pytest.fixture
def at(hdfs: Hdfs, settings_file: Path, tmp_path: Path) -> Callable[..., Source]:
    def source(path: str, tenant: str = "films") -> Source:
        return Source(f"webhdfs://{hdfs.namenode}{path}", tenant, str(tmp_path / "drops"), str(settings_file))

    return source


@pytest.fixture
def deliver(hdfs: Hdfs, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Uploads a drop of two files to a source of this test's own; returns the source's path."""
    path = f"/data/films/{request.node.name.partition('[')[0]}/"

    def upload(name: str = "20261121", *, marked: bool = True, **manifest: Any) -> str:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(2):
            ids = range(number * ROWS, (number + 1) * ROWS)
            write_parquet(folder / f"part-{number}.parquet", ids, vectors(ROWS, seed=number))
        if marked:
            complete(folder, **manifest)
        hdfs.upload(folder, f"{path}{name}/")
        return path

    return upload


def fetched(source: Source, spool: Path, **options: Any) -> Any:
    location = places.locate(source)
    assert isinstance(location, WebhdfsLocation)
    found = sources.find_here(source, "", [])
    return fetch_drop(location, found.name, found.fingerprint, spool, **{"progress": lambda *_: None, **options})


def refused(ask: Callable[[], Any]) -> BundleError:
    with pytest.raises(BundleError) as caught:
        ask()
    return caught.value


def test_the_newest_complete_drop_is_found_and_the_same_each_time(at, deliver) -> None:
    deliver("20261120")
    path = deliver("20261121", items=["part-*.parquet"], count=2 * ROWS)
    deliver("20261122", marked=False)
    found = sources.find(at(path))
    assert (found.name, found.marker, found.count, found.files) == ("20261121", "manifest.json", 80, 2)
    assert found.skipped == ("20261122 is newer but has no manifest.json or _SUCCESS",)
    assert sources.find_here(at(path), "", []) == found


def test_a_fetched_drop_is_imported_as_a_local_one(at, deliver, tmp_path, monkeypatch) -> None:
    """In several blocks, each of which the name node sends on to the data node."""
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 300)
    drop = fetched(at(deliver()), tmp_path / "spool")
    assert import_items(drop, INT64, tmp_path / "out", limits=SMALL).items == 80
    made = tmp_path / "20261121" / "part-1.parquet"
    assert (drop.path / "part-1.parquet").read_bytes() == made.read_bytes()


def test_a_file_that_changes_while_it_is_read_stops_the_fetch(at, deliver, hdfs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 512)
    path = deliver()
    replaced: list[str] = []

    def replace_once(*_: int) -> None:
        if not replaced:
            replaced.append(path)
            for number in range(2):
                name = f"part-{number}.parquet"
                payload = (tmp_path / "20261121" / name).read_bytes()
                hdfs.put(f"{path}20261121/{name}", payload[::-1])

    with pytest.raises(DropError) as caught:
        fetched(at(path), tmp_path / "spool", progress=replace_once)
    assert replaced
    assert caught.value.reason == "drop.changed_while_read"


def test_a_drop_that_disappears_is_told(at, deliver, hdfs, tmp_path) -> None:
    source = at(deliver())
    location, found = places.locate(source), sources.find_here(source, "", [])
    assert isinstance(location, WebhdfsLocation)
    hdfs.delete(f"{location.path}20261121")
    error = refused(lambda: fetch_drop(location, found.name, found.fingerprint, tmp_path, progress=lambda *_: None))
    assert (error.reason, error.owner) == ("drop.not_found", "user")


def test_an_inspection_reads_from_the_data_node(at, deliver) -> None:
    found = sources.inspect(at(deliver()), 3)
    assert (found.drop, found.rows, found.suggested_schema["dimension"], len(found.sample)) == ("20261121", 80, 4, 3)


@pytest.mark.parametrize("path", ["/data/books/", "/data/films-private/", "/data/", "/", "/data/film"])
def test_other_paths_are_refused_before_anybody_is_asked(at, path: str) -> None:
    assert refused(lambda: sources.find(at(path))).reason == "uri.not_allowed"


def test_another_tenant_has_no_part_in_the_place(at, deliver) -> None:
    path = deliver()
    assert sources.find_here(at(path), "", []).name == "20261121"
    assert refused(lambda: sources.find_here(at(path, tenant="books"), "", [])).reason == "uri.not_allowed"


def test_the_user_of_a_place_is_held_to_his_rights(at, hdfs, settings_file) -> None:
    """Should the settings name too much, HDFS still says no, and it is told as the platform's fault."""
    hdfs.put("/data/books/1/_SUCCESS", b"")
    hdfs.give("/data/books", "books")
    write_sources(settings_file, {"films": {"webhdfs": [hdfs.place(prefixes=["/data/"])]}})
    error = refused(lambda: sources.find_here(at("/data/books/"), "", []))
    assert (error.reason, error.owner) == ("source.forbidden", "platform")


def test_a_folder_that_is_not_there_and_one_that_is_a_file(at, hdfs) -> None:
    hdfs.put("/data/films/a-file", b"x")
    for path in ("/data/films/never/", "/data/films/a-file/"):
        error = refused(lambda path=path: sources.find_here(at(path), "", []))
        assert (error.reason, error.owner) == ("source.not_found", "user")


def test_a_data_node_that_is_not_configured_is_not_followed(at, deliver, hdfs, settings_file, tmp_path) -> None:
    path = deliver()
    write_sources(settings_file, {"films": {"webhdfs": [hdfs.place(datanodes=[])]}})
    error = refused(lambda: fetched(at(path), tmp_path / "spool"))
    assert (error.reason, error.owner) == ("source.redirect_refused", "platform")
    assert hdfs.datanode not in error.message
