"""Files of sampled queries: whose they are, and when they go."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from bundles import samples as files
from bundles.samples import SAMPLES_SECONDS_MAX
from catalog.actions import service_delete
from catalog.models import Service
from tests.factories import TESTER, make_service
from tests.support.history import activated, made_version
from tests.workers.test_live_queries import HOUR, sampled, window
from versions.models import Build, Replica
from workers import samples
from workers.context import BuildContext

pytestmark = pytest.mark.django_db


def loaded(service: Service, settings: Any) -> Path:
    """A version of `service` with a replica, which has sampled; its file."""
    version = activated(made_version(service))
    replica = Replica.objects.get(version=version)
    path = files.path_of(Path(settings.RECALL_SAMPLES), service.tenant.name, service.name, f"r{replica.pk}")
    time.sleep(0.01)  # So that the later one is the newer one.
    return sampled(path, window(10), service=service.name)


def context_of(service: Service) -> BuildContext:
    """Of its newest build, as far as it matters here."""
    build = Build.objects.filter(service=service).latest("pk")
    build.drop = {"model_version": "mind-7"}
    nothing: Any = None
    return BuildContext(claim=nothing, build=build, step="tune_search", started_at=nothing, lease=nothing)


def test_only_files_of_the_service_s_own_replicas_are_read(films_service, books_service, settings, folders):
    mine = [loaded(films_service, settings), loaded(films_service, settings)]
    loaded(books_service, settings)
    stray = mine[0].with_name("r999999.npz")
    stray.write_bytes(b"of a service that had this name before")
    mine[0].with_name("notes.npz").write_bytes(b"")
    found = samples.order(context_of(films_service))
    assert found["files"] == [str(path) for path in mine]
    assert (found["tenant"], found["service"]) == ("films", "movies")
    assert found["space"]["model_version"] == "mind-7"


def test_a_service_of_the_same_name_does_not_inherit(films, films_service, settings, folders):
    loaded(films_service, settings)
    service_delete(actor=TESTER, service=films_service)
    again = make_service(films, films_service.name)
    own = loaded(again, settings)
    assert samples.order(context_of(again))["files"] == [str(own)]


def test_the_files_of_a_deleted_service_go_and_those_of_others_stay(films_service, books_service, settings, folders):
    gone, kept = loaded(films_service, settings), loaded(books_service, settings)
    samples.delete_old()
    assert (gone.exists(), kept.exists()) == (True, True)
    service_delete(actor=TESTER, service=films_service)
    samples.delete_old()
    assert (gone.exists(), gone.parent.exists(), kept.exists()) == (False, False, True)


def test_what_is_a_day_old_or_of_nobody_or_half_written_goes(films_service, settings, folders):
    old, fresh = loaded(films_service, settings), loaded(films_service, settings)
    strays = [fresh.with_name(name) for name in ("r999999.npz", "notes.npz")]
    unfinished, under_way = fresh.with_name("r7.new"), fresh.with_name("r8.new")
    for path in (*strays, unfinished, under_way):
        path.write_bytes(b"x")
    other = Path(settings.RECALL_SAMPLES) / "books" / "novels" / fresh.name
    other.parent.mkdir(parents=True)
    other.write_bytes(b"x")
    for path, age_seconds in ((old, SAMPLES_SECONDS_MAX + 5), (unfinished, 2 * HOUR)):
        os.utime(path, (time.time() - age_seconds,) * 2)
    samples.delete_old()
    assert sorted(Path(settings.RECALL_SAMPLES).rglob("*.*")) == sorted([fresh, under_way])


def test_without_a_folder_there_is_nothing_to_do(settings, folders):
    samples.delete_old()
