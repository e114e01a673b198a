"""The name that an instance has for what is live, as somebody with another tool sees it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines import registry
from engines.base import IndexSpec
from engines.milvus.connection import instance
from engines.milvus.reference import read_reference
from tests.factories import TESTER, make_service
from tests.support.history import activated, made_version, refreshed
from tests.support.milvus import MilvusLite, running_milvus
from versions import actions
from versions.models import Version
from workers import aliases, files, outside

pytestmark = [pytest.mark.django_db, pytest.mark.servers]

FLAT = IndexSpec("ip", 4, params={"index_type": "FLAT"})
ALIAS = "recall_T_films_S_movies"
LONG_AGO = "2020-01-01T00:00:00+00:00"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, MilvusLite]]:
    with running_milvus() as blue, running_milvus() as green:
        servers = {"blue": blue, "green": green}
        monkeypatch.setenv(
            "RECALL_MILVUS_INSTANCES", ",".join(f"{name}={server.uri}" for name, server in servers.items())
        )
        yield servers


@pytest.fixture
def home(folders: Path, settings) -> Path:
    settings.RECALL_HOME = folders
    return folders


def made(service, settings, number: int, *, beside: tuple[str, ...] = (), engine: str = "milvus") -> Version:
    """A version whose index is where a build would make it."""
    path = settings.RECALL_ARTIFACTS / service.tenant.name / service.name / f"s1-v{number}-b{number}-f1"
    (path / "index").mkdir(parents=True)
    spec = IndexSpec("ip", 4, params=FLAT.params if engine == "milvus" else {}, beside=beside)
    registry.builder(engine).build(spec, np.eye(4, dtype=np.float32), path / "index", int)
    version = made_version(service, artifact=str(path))
    Version.objects.filter(pk=version.pk).update(engine=engine)
    return version


def index_of(version: Version) -> str:
    return str(Path(version.artifact) / "index")


def place(version: Version) -> tuple[str, str]:
    told = read_reference(Path(index_of(version)))
    return told.instance, told.collection


def named(alias: str = ALIAS) -> list[tuple[str, str]]:
    """Where the name stands, and for what."""
    found = []
    for name in ("blue", "green"):
        known = instance(name).tell(lambda client: client.list_aliases()["aliases"])
        if alias in known:
            told = instance(name).tell(lambda client: client.describe_alias(alias))
            found.append((name, told["collection_name"]))
    return found


def test_the_name_follows_switches_and_rollbacks_over_instances(films_service, home, settings, servers):
    first = activated(made(films_service, settings, 1))
    assert named() == []
    aliases.keep_aliases()
    assert named() == [place(first)]

    second = activated(made(films_service, settings, 2, beside=(index_of(first),)))
    assert place(second)[0] != place(first)[0]
    aliases.keep_aliases()
    assert named() == [place(second)]

    third = activated(made(films_service, settings, 3, beside=(index_of(first),)))
    assert place(third)[0] == place(second)[0]
    aliases.keep_aliases()
    assert named() == [place(third)]

    actions.version_rollback(actor=TESTER, service=refreshed(films_service), from_version=3)
    aliases.keep_aliases()
    assert named() == [place(second)]


def test_it_is_told_once_and_costs_nothing_while_nothing_changes(films_service, home, settings, servers, monkeypatch):
    live = activated(made(films_service, settings, 1))
    aliases.keep_aliases()
    monkeypatch.setattr(outside, "asked", None)
    aliases.keep_aliases()
    monkeypatch.undo()
    assert json.loads((home / "run" / "aliases.json").read_text()) == {"films/movies": live.artifact}


@pytest.mark.parametrize("damaged", [True, False])
def test_a_note_that_is_lost_or_damaged_is_written_anew(films_service, home, settings, servers, damaged):
    live = activated(made(films_service, settings, 1))
    aliases.keep_aliases()
    note = home / "run" / "aliases.json"
    if damaged:
        note.write_text("{")
    else:
        note.unlink()
    aliases.keep_aliases()
    assert named() == [place(live)]
    assert json.loads(note.read_text()) == {"films/movies": live.artifact}


def test_a_service_that_goes_over_to_another_engine_or_is_deleted_has_no_name_any_more(
    films_service, books, home, settings, servers
):
    charlies = make_service(books, "novels")
    for service in (films_service, charlies):
        activated(made(service, settings, 1))
    aliases.keep_aliases()
    assert (len(named()), len(named("recall_T_books_S_novels"))) == (1, 1)
    activated(made(films_service, settings, 2, engine="hnsw"))
    type(charlies).objects.filter(pk=charlies.pk).update(deleted_at=LONG_AGO)
    aliases.keep_aliases()
    assert (named(), named("recall_T_books_S_novels")) == ([], [])
    assert json.loads((home / "run" / "aliases.json").read_text()) == {}


def test_an_instance_that_is_away_is_told_when_it_is_back_and_hurts_nobody(
    films_service, home, settings, servers, caplog
):
    first = activated(made(films_service, settings, 1))
    aliases.keep_aliases()
    second = activated(made(films_service, settings, 2, beside=(index_of(first),)))
    away, other = place(first)[0], place(second)[0]
    servers[away].kill()
    aliases.keep_aliases()
    # The name stands where it should, and where it should not as well for now.
    assert instance(other).tell(lambda client: client.list_aliases()["aliases"]) == [ALIAS]
    assert f"The name of films/movies at its engine's servers does not stand yet: the instance {away}" in caplog.text
    servers[away].start()
    aliases.keep_aliases()
    assert named() == [place(second)]


def test_one_whose_name_never_stands_keeps_no_others_waiting(films_service, books, home, valkey, monkeypatch):
    """As the first by its name, while its instance is away and a tick has room for one."""
    for service in (films_service, make_service(books, "novels")):
        artifact = home / service.name
        artifact.mkdir()
        version = activated(made_version(service, artifact=str(artifact)))
        Version.objects.filter(pk=version.pk).update(engine="milvus")
    asked: list[list[str]] = []

    def tell(live: dict[str, str | None]) -> dict[str, str]:
        asked.append(sorted(live))
        return {name: "It is away." for name in live if name == "books/novels"}

    monkeypatch.setattr(aliases, "SERVICES_MAX", 1)
    monkeypatch.setattr(aliases, "_tell", tell)
    for _ in range(3):
        aliases.keep_aliases()
    assert asked == [["books/novels"], ["films/movies"], ["books/novels"]]
    assert list(json.loads((home / "run" / "aliases.json").read_text())) == ["films/movies"]


def test_an_artifact_whose_disk_is_away_keeps_its_name(films_service, home, settings, servers):
    live = activated(made(films_service, settings, 1))
    aliases.keep_aliases()
    (home / "run" / "aliases.json").unlink()
    shutil.move(live.artifact, home / "elsewhere")
    aliases.keep_aliases()
    assert [alias for _, alias in named()] == [read_reference(home / "elsewhere" / "index").collection]


def test_what_is_removed_takes_its_name_along(films_service, home, settings, servers):
    version = activated(made(films_service, settings, 1))
    aliases.keep_aliases()
    where, _ = place(version)
    Version.objects.filter(pk=version.pk).update(state="RETIRED")
    version.replicas.all().delete()
    files.delete_files()
    assert instance(where).tell(lambda client: client.list_collections()) == []
    assert instance(where).tell(lambda client: client.list_aliases()["aliases"]) == []
