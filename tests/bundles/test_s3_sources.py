"""Sources in S3, against a server that checks signatures and policies: found, fetched, inspected, and kept apart."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import fetching, peeking, places, sources
from bundles.errors import BundleError, DropError, SourceError, UriError
from bundles.fetching import fetch_drop
from bundles.importing import import_items
from bundles.places import S3Location, Source
from bundles.stores import base
from tests.bundles.making import COSINE, INT64, SMALL, complete, vectors, write_parquet
from tests.support.s3 import BUCKET, S3Server, running_s3
from tests.support.sources_file import write_sources

pytestmark = pytest.mark.servers

ROWS = 40


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def settings_file(server: S3Server, tmp_path: Path) -> Path:
    both = {tenant: {"s3": [server.place(tenant)]} for tenant in ("films", "books")}
    return write_sources(tmp_path / "sources.toml", both)


@pytest.fixture
def at(settings_file: Path, tmp_path: Path) -> Callable[..., Source]:
    """A source of Alice's, or of another tenant."""

    def source(uri: str, tenant: str = "films") -> Source:
        return Source(uri, tenant, str(tmp_path / "drops" / tenant), str(settings_file))

    return source


@pytest.fixture
def deliver(server: S3Server, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Uploads a drop of two files to a source of this test's own; returns the source's URI."""
    prefix = f"films/{request.node.name.partition('[')[0]}/"

    def upload(name: str = "20261121", *, marked: bool = True, **manifest: Any) -> str:
        folder = tmp_path / "made"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number in range(2):
            ids = range(number * ROWS, (number + 1) * ROWS)
            write_parquet(
                folder / f"items-{number}.parquet", ids, vectors(ROWS, seed=number), name=[f"f{i}" for i in ids]
            )
        if marked:
            complete(folder, **manifest)
        server.upload(folder, f"{prefix}{name}/")
        return f"s3://{BUCKET}/{prefix}"

    return upload


def fetched(source: Source, spool: Path, **options: Any) -> Any:
    """The newest drop brought here."""
    location = places.locate(source)
    assert isinstance(location, S3Location)
    found = sources.find_here(source, "", [])
    return fetch_drop(location, found.name, found.fingerprint, spool, **{"progress": lambda *_: None, **options})


def refused(ask: Callable[[], Any]) -> BundleError:
    with pytest.raises(BundleError) as caught:
        ask()
    return caught.value


def test_the_newest_complete_drop_is_found_and_newer_ones_are_told(at, deliver, server) -> None:
    deliver("20261120")
    uri = deliver("20261121", items=["items-*.parquet"], count=2 * ROWS, model_version="mind-7")
    deliver("20261122", marked=False)
    deliver(".staging")
    found = sources.find(at(uri))
    assert (found.name, found.marker, found.count, found.model_version) == ("20261121", "manifest.json", 80, "mind-7")
    assert found.files == 2
    assert found.bytes > 1_000
    assert found.skipped == ("20261122 is newer but has no manifest.json or _SUCCESS",)
    named = sources.find(at(uri), name="20261122")
    assert (named.name, named.marker, named.files) == ("20261122", "", 2)
    assert refused(lambda: sources.find(at(uri), name=".staging")).reason == "drop.not_found"


def test_a_drop_is_the_same_as_often_as_it_is_asked_for_and_another_when_a_byte_changed(at, deliver, server) -> None:
    uri = deliver(items=["items-*.parquet"])
    first = sources.find_here(at(uri), "", [])
    assert sources.find_here(at(uri.removesuffix("/")), "", []) == first
    key = f"{uri.partition(BUCKET + '/')[2]}20261121/items-1.parquet"
    payload = server.files.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    # The same size within the same second: only the etag tells.
    server.put(key, payload[:-1] + b"x")
    assert sources.find_here(at(uri), "", []).fingerprint != first.fingerprint
    server.put(f"{uri.partition(BUCKET + '/')[2]}20261121/notes.txt", b"is no part of it")
    changed = sources.find_here(at(uri), "", []).fingerprint
    server.delete(f"{uri.partition(BUCKET + '/')[2]}20261121/notes.txt")
    assert sources.find_here(at(uri), "", []).fingerprint == changed


def test_what_is_wrong_with_the_newest_drop_is_told_with_its_name(at, server, tmp_path) -> None:
    server.put("films/broken/20261121/manifest.json", b'{"items": ["items-*.parquet"]}')
    with pytest.raises(DropError) as caught:
        sources.find(at(f"s3://{BUCKET}/films/broken/"))
    assert (caught.value.reason, caught.value.details["drop"]) == ("drop.incomplete", "20261121")
    local = tmp_path / "drops" / "films" / "broken" / "20261121"
    local.mkdir(parents=True)
    (local / "manifest.json").write_text('{"items": ["items-*.parquet"]}')
    with pytest.raises(DropError) as same:
        sources.find(at("file:broken/"))
    assert (same.value.message, same.value.details) == (caught.value.message, caught.value.details)


def test_a_place_that_holds_a_marker_is_one_drop(at, deliver) -> None:
    uri = deliver("20261121") + "20261121/"
    assert sources.find_here(at(uri), "", []).name == "20261121"


def test_a_fetched_drop_is_imported_as_a_local_one(at, deliver, tmp_path) -> None:
    uri = deliver(items=["items-*.parquet"], count=2 * ROWS)
    told: list[tuple[int, int]] = []
    drop = fetched(at(uri), tmp_path / "spool", progress=lambda done, total: told.append((done, total)))
    report = import_items(drop, COSINE, tmp_path / "out", limits=SMALL)
    assert (report.rows, report.items, report.files) == (80, 80, 2)
    stored = np.load(tmp_path / "out" / "vectors.npy")
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    total = told[0][1]
    assert max(done for done, _ in told) == total == drop.bytes
    assert not any((tmp_path / "spool" / ".parts").iterdir())


def test_spark_folders_are_fetched_with_their_folders(at, server, tmp_path) -> None:
    made = tmp_path / "spark"
    for day in ("a", "b"):
        (made / f"part={day}").mkdir(parents=True)
        write_parquet(made / f"part={day}" / "x-0.parquet", [ord(day)], vectors(1))
    complete(made, items=["part=*/x-*.parquet"])
    server.upload(made, "films/spark/20261121/")
    drop = fetched(at(f"s3://{BUCKET}/films/spark/"), tmp_path / "spool")
    assert [item.name for item in drop.item_files] == ["part=a/x-0.parquet", "part=b/x-0.parquet"]
    assert import_items(drop, INT64, tmp_path / "out", limits=SMALL).items == 2


def test_what_was_fetched_before_is_not_fetched_again(at, deliver, server, tmp_path) -> None:
    uri = deliver()
    drop = fetched(at(uri), tmp_path / "first")
    (drop.path / "items-1.parquet").unlink()
    before = len([line for line in server.asked() if "GET" in line and "items-0.parquet" in line])
    again = fetched(at(uri), tmp_path / "second", previous=tmp_path / "first")
    assert len([line for line in server.asked() if "GET" in line and "items-0.parquet" in line]) == before
    assert import_items(again, INT64, tmp_path / "out", limits=SMALL).items == 80
    assert not (tmp_path / "first").exists()


def test_a_file_that_changes_while_it_is_read_stops_the_fetch(at, deliver, server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 512)
    monkeypatch.setattr(fetching, "FETCHES_AT_ONCE_MAX", 1)
    uri = deliver()
    key = f"{uri.partition(BUCKET + '/')[2]}20261121/items-0.parquet"
    replaced = threading.Event()

    def replace_once(*_: int) -> None:
        if not replaced.is_set():
            replaced.set()
            server.put(key, b"x" * 100_000)

    with pytest.raises(DropError) as caught:
        fetched(at(uri), tmp_path / "spool", progress=replace_once)
    assert replaced.is_set()
    assert caught.value.reason == "drop.changed_while_read"


def test_a_drop_that_changed_since_it_was_found_is_not_fetched(at, deliver, server, tmp_path) -> None:
    source = at(deliver())
    location, found = places.locate(source), sources.find_here(source, "", [])
    server.put(f"{source.uri.partition(BUCKET + '/')[2]}20261121/items-2.parquet", b"new")
    fetch = lambda: fetch_drop(location, found.name, found.fingerprint, tmp_path / "s", progress=lambda *_: None)  # noqa: E731
    assert refused(fetch).reason == "drop.changed_while_read"
    server.delete(f"{source.uri.partition(BUCKET + '/')[2]}20261121/items-2.parquet")
    for number in range(2):
        server.delete(f"{source.uri.partition(BUCKET + '/')[2]}20261121/items-{number}.parquet")
    assert refused(fetch).reason == "drop.empty"


def test_a_drop_above_the_limit_is_not_fetched(at, deliver, tmp_path, monkeypatch) -> None:
    uri = deliver()
    assert refused(lambda: fetched(at(uri), tmp_path / "spool", bytes_max=1_000)).reason == "drop.too_large"
    monkeypatch.setattr(fetching, "FREE_BYTES_MIN", 1 << 60)
    error = refused(lambda: fetched(at(uri), tmp_path / "spool"))
    assert (error.reason, error.owner) == ("source.no_room", "platform")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://vault/",
        "s3://vault/films/",
        f"s3://{BUCKET}/",
        f"s3://{BUCKET}/books/",
        f"s3://{BUCKET}/films-private/",
        f"s3://{BUCKET}/film",
        "webhdfs://127.0.0.1:9870/films/",
    ],
)
def test_a_place_of_nobody_or_of_another_tenant_is_refused_in_the_same_words(at, server, uri: str) -> None:
    asked = len(server.asked())
    error = refused(lambda: sources.find(at(uri)))
    assert isinstance(error, UriError)
    assert (error.reason, error.field, error.owner) == ("uri.not_allowed", "source.uri", "user")
    assert error.message == f"source.uri {uri!r} lies in no place that is configured for tenant films."
    assert "RECALL_SOURCES_FILE" in error.remedy
    assert len(server.asked()) == asked


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (f"s3://{BUCKET}/films/../books/", "uri.parent"),
        (f"s3://{BUCKET}/films/..", "uri.parent"),
        (f"s3://{BUCKET}/films//x", "uri.bad_syntax"),
        (f"s3://{BUCKET}/films/?versionId=1", "uri.bad_syntax"),
        (f"s3://key:secret@{BUCKET}/films/", "uri.bad_syntax"),
        (f"s3://{BUCKET}:9000/films/", "uri.bad_syntax"),
        ("s3://arn:aws:s3:us-east-1:1:accesspoint/x/films/", "uri.bad_syntax"),
        (f"simplecache::s3://{BUCKET}/films/", "uri.chained"),
        (f"s3a://{BUCKET}/films/", "uri.bad_protocol"),
    ],
)
def test_an_address_that_could_mean_something_else_is_refused(at, uri: str, reason: str) -> None:
    assert refused(lambda: sources.find(at(uri))).reason == reason


def test_percent_signs_in_a_key_are_taken_literally(at, server) -> None:
    server.put("books/secret/_SUCCESS", b"")
    error = refused(lambda: sources.find_here(at(f"s3://{BUCKET}/films/%2e%2e/books/"), "", []))
    assert error.reason == "drop.not_found"


def test_the_credential_of_a_place_opens_that_place_only(server, settings_file, tmp_path) -> None:
    """Should the settings name too much, the server still says no, and it is told as the platform's fault."""
    server.put("books/novels/20261121/_SUCCESS", b"")
    server.put("books/novels/20261121/manifest.json", b'{"items": ["items-*.parquet"]}')
    mistaken = server.place("films", prefix="books/")
    wrong = server.place("films", bucket="vault", prefix="")
    write_sources(settings_file, {"films": {"s3": [mistaken, wrong]}})
    for uri in (f"s3://{BUCKET}/books/novels/", "s3://vault/"):
        source = Source(uri, "films", str(tmp_path), str(settings_file))
        error = refused(lambda source=source: sources.find_here(source, "", []))
        assert (error.reason, error.owner) == ("source.forbidden", "platform")
        assert server.users["films"].secret not in error.message


def test_a_wrong_secret_is_forbidden_and_nowhere_told(server, settings_file, at, deliver, caplog, capfd) -> None:
    uri = deliver()
    write_sources(settings_file, {"films": {"s3": [server.place("films", secret_access_key="hunter2-hunter2")]}})
    error = refused(lambda: sources.find(at(uri)))
    assert (error.reason, error.owner) == ("source.forbidden", "platform")
    assert isinstance(error, SourceError)
    assert not error.temporary
    output = capfd.readouterr()
    for told in (error.message, repr(error.details), caplog.text, output.out, output.err):
        assert "hunter2" not in told
    assert "hunter2" not in repr(places.locate(at(uri)))


def test_a_bucket_that_is_not_there_is_told(server, settings_file, tmp_path) -> None:
    everything = server.place("films", bucket="nowhere", prefix="")
    everything["access_key_id"], everything["secret_access_key"] = server.admin.key, server.admin.secret
    write_sources(settings_file, {"films": {"s3": [everything]}})
    source = Source("s3://nowhere/films/", "films", str(tmp_path), str(settings_file))
    assert refused(lambda: sources.find_here(source, "", [])).reason == "source.not_found"


def test_a_prefix_without_a_drop_says_so(at) -> None:
    error = refused(lambda: sources.find_here(at(f"s3://{BUCKET}/films/never/"), "", []))
    assert (error.reason, error.owner) == ("drop.not_found", "user")


def test_a_server_that_is_away_is_asked_a_few_times_and_then_told(server, settings_file, at, monkeypatch) -> None:
    monkeypatch.setattr(base, "PAUSE_SECONDS_MIN", 0.01)
    with socket.socket() as taken:
        # Bound and not listening: every connection is refused.
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        write_sources(settings_file, {"films": {"s3": [server.place("films", endpoint_url=nowhere)]}})
        error = refused(lambda: sources.find_here(at(f"s3://{BUCKET}/films/"), "", []))
    assert isinstance(error, SourceError)
    assert (error.reason, error.owner, error.temporary) == ("source.unreachable", "platform", True)


def test_a_server_that_never_answers_is_given_up_and_can_be_cancelled(
    server, settings_file, at, tmp_path, monkeypatch
) -> None:
    class Cancelled(Exception):
        pass

    def cancel() -> None:
        raise Cancelled

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        nowhere = f"http://127.0.0.1:{silent.getsockname()[1]}"
        write_sources(settings_file, {"films": {"s3": [server.place("films", endpoint_url=nowhere)]}})
        uri = f"s3://{BUCKET}/films/"
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        assert refused(lambda: sources.find(at(uri), seconds_max=0.5)).reason == "source.timeout"
        assert list(tmp_path.glob("recall-*")) == []
        with pytest.raises(Cancelled):
            sources.find(at(uri), check=cancel)


def test_an_inspection_reads_what_it_shows_and_no_more(at, server, tmp_path, monkeypatch) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for number in range(3):
        rows = vectors(30_000, 64, seed=number)
        write_parquet(made / f"items-{number}.parquet", range(number * 30_000, (number + 1) * 30_000), rows)
    complete(made)
    server.upload(made, "films/large/20261121/")
    size = sum(path.stat().st_size for path in made.iterdir())
    # A third of it would be one file.
    monkeypatch.setattr(peeking, "READ_BYTES_MAX", size // 3)
    found = sources.inspect(at(f"s3://{BUCKET}/films/large/"), 5)
    assert (found.drop, found.complete, found.format, found.files, found.rows) == (
        "20261121",
        True,
        "parquet",
        3,
        90_000,
    )
    assert found.suggested_schema["dimension"] == 64
    assert (found.bytes, len(found.sample), found.source_files) == (size, 5, ["items-*.parquet"])
    monkeypatch.setattr(peeking, "READ_BYTES_MAX", 1_000)
    assert refused(lambda: sources.inspect(at(f"s3://{BUCKET}/films/large/"), 5)).reason == "drop.too_large"


@pytest.mark.parametrize("extension", ["csv", "npy"])
def test_other_formats_are_inspected_too(at, server, tmp_path, extension: str) -> None:
    made = tmp_path / "made"
    made.mkdir()
    if extension == "csv":
        (made / "items.csv").write_text('id,vector\n1,"[0.6, 0.8]"\n2,"[1.0, 0.0]"\n')
    else:
        np.save(made / "items.npy", vectors(2, 2))
        np.save(made / "ids.npy", np.array([1, 2]))
    server.upload(made, f"films/{extension}/")
    found = sources.inspect(at(f"s3://{BUCKET}/films/{extension}/"), 5)
    assert (found.drop, found.complete, found.suggested_schema["dimension"]) == (extension, False, 2)
    assert [row["id"] for row in found.sample] == [1, 2]


def test_names_that_could_not_be_files_here_are_left_out(at, deliver, server) -> None:
    uri = deliver()
    prefix = f"{uri.partition(BUCKET + '/')[2]}20261121/"
    before = sources.find_here(at(uri), "", [])
    for name in ("../items-9.parquet", "./items-9.parquet", "/items-9.parquet", "items-\\9.parquet"):
        server.put(prefix + name, b"x")
    assert sources.find_here(at(uri), "", []) == before


def test_a_key_that_is_a_file_and_a_folder_is_refused(at, server) -> None:
    server.put("films/odd/1/part=a", b"x")
    server.put("films/odd/1/part=a/x.parquet", b"x")
    server.put("films/odd/1/manifest.json", json.dumps({"items": ["part=*/x.parquet"]}).encode())
    error = refused(lambda: sources.find_here(at(f"s3://{BUCKET}/films/odd/"), "", []))
    assert error.reason == "drop.unsafe_path"


def test_an_order_holds_no_secret(at, deliver, server) -> None:
    source = at(deliver())
    assert server.users["films"].secret not in json.dumps(source.to_dict())
    assert dataclasses.asdict(source) == source.to_dict()
