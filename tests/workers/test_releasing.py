"""The memory that an instance gives back once a version is loaded nowhere, and has again when it is opened."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from engines import registry
from engines.base import SearchEffort
from engines.milvus.connection import instance
from engines.milvus.reference import read_reference
from tests.support.history import activated
from tests.workers.test_aliases import FLAT, index_of, made
from tests.workers.test_aliases import home as home
from tests.workers.test_aliases import servers as servers
from versions.models import Build, Replica, Version
from workers import outside
from workers.releasing import release_idle

pytestmark = [pytest.mark.django_db, pytest.mark.servers, pytest.mark.usefixtures("patient")]

VECTORS = np.eye(4, dtype=np.float32)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, settings) -> None:
    """Children are in no hurry, and on a busy machine the nicest one comes last."""
    settings.BUILD_NICE = 0
    monkeypatch.setattr(outside, "SECONDS_MAX", 120.0)


def is_loaded(version: Version) -> bool:
    told = read_reference(Path(index_of(version)))
    state = instance(told.instance).tell(lambda client: client.get_load_state(told.collection))
    return state["state"].name == "Loaded"


def unloaded(version: Version) -> None:
    """Every node has let go of it."""
    for replica in Replica.objects.filter(version=version):
        replica.state = "GONE"
        replica.save()


def open_again(version: Version) -> list[int]:
    searcher = registry.open_searcher("milvus", FLAT, Path(index_of(version)), VECTORS)
    rows, _ = searcher.search(VECTORS[:1], 1, SearchEffort(ef=8))
    searcher.close()
    return rows[0].tolist()


def test_what_no_node_has_is_released_and_what_is_live_or_loaded_is_not(films_service, home, settings, servers):
    idle, live, standby = (activated(made(films_service, settings, number)) for number in (1, 2, 3))
    activated(live)
    unloaded(idle)
    # All its nodes are lost, and it is what callers ask for.
    unloaded(live)
    release_idle()
    assert [is_loaded(version) for version in (idle, live, standby)] == [False, True, True]
    assert open_again(idle) == [0]
    assert is_loaded(idle)


def test_a_replica_that_is_leaving_still_answers(films_service, home, settings, servers):
    before = activated(made(films_service, settings, 1))
    activated(made(films_service, settings, 2))
    Replica.objects.filter(version=before).update(state="WITHDRAWN")
    release_idle()
    assert is_loaded(before)


def test_it_is_released_once_for_each_time_that_it_was_loaded(films_service, home, settings, servers, monkeypatch):
    before = activated(made(films_service, settings, 1))
    activated(made(films_service, settings, 2))
    unloaded(before)
    release_idle()
    with monkeypatch.context() as nobody:
        nobody.setattr(outside, "asked", None)
        release_idle()
    # A rollback has had it loaded, and it was left again before any tick.
    open_again(before)
    unloaded(before)
    release_idle()
    assert not is_loaded(before)
    Version.objects.filter(pk=before.pk).update(artifact="")
    release_idle()
    assert json.loads((home / "run" / "released.json").read_text()) == {}


def test_a_held_build_gives_its_memory_back_and_one_at_work_keeps_it(films_service, home, settings, servers):
    version = made(films_service, settings, 1)
    unloaded(version)
    for state in ("PENDING", "RUNNING"):
        Build.objects.filter(pk=version.build_id).update(state=state)
        release_idle()
        assert is_loaded(version)
    Build.objects.filter(pk=version.build_id).update(state="HELD")
    release_idle()
    assert not is_loaded(version)


def test_what_another_version_is_made_of_too_stays_loaded(films_service, home, settings, servers):
    failed = made(films_service, settings, 1)
    again = made(films_service, settings, 2)
    copy = Path(index_of(again)) / "collection.json"
    copy.write_bytes((Path(index_of(failed)) / "collection.json").read_bytes())
    unloaded(failed)
    release_idle()
    assert is_loaded(failed)
    unloaded(again)
    release_idle()
    assert not is_loaded(failed)


def test_while_a_folder_of_its_service_is_away_nothing_is_released(films_service, home, settings, servers, caplog):
    idle = made(films_service, settings, 1)
    other = made(films_service, settings, 2)
    unloaded(idle)
    away = Path(other.artifact).rename(home / "elsewhere")
    with caplog.at_level(logging.WARNING):
        release_idle()
    assert is_loaded(idle)
    assert "keeps its memory at its engine's server for now" in caplog.text
    away.rename(other.artifact)
    release_idle()
    assert not is_loaded(idle)


def test_what_an_instance_that_is_away_keeps_is_not_taken_for_released(films_service, home, settings, servers, caplog):
    idle = made(films_service, settings, 1)
    unloaded(idle)
    servers["blue"].stop()
    with caplog.at_level(logging.WARNING):
        release_idle()
    assert "keeps its memory at its engine's server for now" in caplog.text
    # What is not noted is asked for again by the next tick.
    assert not (home / "run" / "released.json").exists()
