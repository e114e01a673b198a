"""The tick that looks at sources: real folders, real rows; rows are moved back in time instead of waiting."""

from __future__ import annotations

import itertools
import os
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from alerts.models import Alert
from common.dispatch import QUEUES
from tests.factories import make_service
from tests.support.history import asked, refreshed
from tests.support.source import write_drop
from tests.workers.conftest import finish
from versions import actions
from versions.models import Build, SourceWatch
from workers import app, sources, tasks

pytestmark = [pytest.mark.django_db(transaction=True)]

LONG_AGO = datetime.fromisoformat("2020-01-01T00:00:00+00:00")


def tick() -> list[int]:
    """Every source has its turn; returns the ids of the builds that this asked for."""
    before = set(Build.objects.values_list("pk", flat=True))
    SourceWatch.objects.update(next_look_at=LONG_AGO)
    sources.notice_drops()
    return sorted(set(Build.objects.values_list("pk", flat=True)) - before)


@pytest.mark.servers
def test_a_drop_is_noticed_by_its_marker_and_goes_live(films_service, folders, node):
    assert tick() == []
    assert "no folder" in SourceWatch.objects.get().problem
    folder = write_drop(films_service, "20261124")
    (folder / "manifest.json").rename(folder / "manifest.tmp")
    assert tick() == []
    (folder / "manifest.tmp").rename(folder / "manifest.json")
    (build_id,) = tick()
    assert finish(Build.objects.get(pk=build_id)).state == "SUCCEEDED"
    assert (refreshed(films_service).live_version, tick()) == (1, [])
    watch = SourceWatch.objects.get()
    assert (watch.drop_name, watch.problem) == ("20261124", "")


def test_of_several_new_drops_the_newest_is_built_and_an_older_one_that_comes_later_is_not(
    films_service, folders, node
):
    for name in ("20261122", "20261124", "20261123"):
        write_drop(films_service, name)
    (build_id,) = tick()
    assert finish(Build.objects.get(pk=build_id)).drop_name == "20261124"
    write_drop(films_service, "20261121", items=70)
    assert tick() == []


def test_a_bad_drop_fails_its_one_build_with_its_reason_and_what_is_live_stays(films_service, folders, node):
    write_drop(films_service, "1")
    finish(Build.objects.get(pk=tick()[0]))
    folder = write_drop(films_service, "2")
    (folder / "manifest.json").write_text("{")
    assert tick() == []
    (build_id,) = tick()
    build = finish(Build.objects.get(pk=build_id))
    assert (build.state, build.error_reason) == ("FAILED", "drop.bad_manifest")
    assert [tick(), tick()] == [[], []]
    assert refreshed(films_service).live_version == 1


def test_a_spark_folder_that_is_the_source_itself_is_built_again_when_its_job_wrote_it_again(
    films_service, folders, node
):
    inner = write_drop(films_service, "x")
    source = inner.parent

    def written(job: str) -> None:
        for old in source.glob("part-*"):
            old.unlink()
        (source / f"part-00000-{job}-c000.snappy.parquet").write_bytes((inner / "items-0.parquet").read_bytes())
        (source / "_SUCCESS").touch()

    written("a")
    assert finish(Build.objects.get(pk=tick()[0])).state == "SUCCEEDED"
    assert tick() == []
    written("b")
    build = finish(Build.objects.get(pk=tick()[0]))
    assert (build.state, build.drop_name) == ("SUCCEEDED", "movies")


def test_it_asks_for_a_nightly_build_when_it_is_due_and_makes_up_for_missed_ones_once(films, folders, node):
    service = make_service(films, source={"uri": "file:movies/", "notice": "0 3 * * *"})
    write_drop(service, "1")
    assert tick() == []
    SourceWatch.objects.update(due_at=timezone.now() - timedelta(days=5))
    (build_id,) = tick()
    assert Build.objects.get(pk=build_id).requested_by == "source cron"
    finish(Build.objects.get(pk=build_id))
    write_drop(service, "2", items=61)
    assert tick() == []


def test_a_drop_that_is_late_is_told_and_the_next_one_ends_it(films, folders):
    service = make_service(films, source={"uri": "file:movies/", "notice": "manual", "expect_every": "26h"})
    write_drop(service, "1")
    tick()
    SourceWatch.objects.update(drop_seen_at=timezone.now() - timedelta(hours=27))
    assert tick() == []
    assert Alert.objects.get(service=service).state == "OPEN"
    write_drop(service, "2")
    tick()
    assert Alert.objects.get(service=service).state == "RESOLVED"
    assert not Build.objects.exists()


def test_a_source_that_leads_elsewhere_is_a_problem_of_its_own_and_stops_no_other(
    films_service, books_service, folders
):
    write_drop(books_service, "1")
    (folders / "drops" / "films").mkdir(parents=True)
    os.symlink(folders, folders / "drops" / "films" / "movies")
    (build_id,) = tick()
    assert Build.objects.get(pk=build_id).service == books_service
    assert "outside" in SourceWatch.objects.get(service=films_service).problem


def test_a_service_for_which_no_build_may_be_asked_stops_no_other(films_service, books_service, folders, monkeypatch):
    """Twenty held builds, whose drops are older, is the most that may be."""
    for _ in range(20):
        asked(films_service)
    Build.objects.filter(service=films_service).update(state="HELD", drop_name="0")
    for service in (films_service, books_service):
        write_drop(service, "1")
    (build_id,) = tick()
    assert Build.objects.get(pk=build_id).service == books_service
    assert SourceWatch.objects.get(service=films_service).next_look_at > timezone.now() + timedelta(seconds=60)


def test_one_tick_looks_at_so_many_and_the_next_one_at_the_others(films, folders, monkeypatch):
    services = [make_service(films, f"movies-{number}") for number in range(5)]
    monkeypatch.setattr(sources, "LOOKS_MAX", 2)
    seen: list[str] = []
    monkeypatch.setattr(sources, "newest", lambda service: seen.append(service.name) or actions.Seen(problem="away"))
    sources.notice_drops()
    SourceWatch.objects.filter(looked_at__isnull=True).update(next_look_at=LONG_AGO)
    for _ in range(2):
        sources.notice_drops()
    assert sorted(seen) == [service.name for service in services]


def test_slow_sources_end_a_tick_and_have_their_turn_with_the_next(films, folders, monkeypatch):
    for number in range(4):
        make_service(films, f"movies-{number}")
    seen: list[str] = []
    monkeypatch.setattr(sources, "newest", lambda service: seen.append(service.name) or actions.Seen(problem="slow"))
    clock = itertools.count(step=3.0)
    monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    sources.notice_drops()
    assert len(seen) == 1
    sources.notice_drops()
    assert len(set(seen)) == 2


def test_a_source_that_does_not_matter_now_is_not_read(films, folders, monkeypatch):
    make_service(films, "by-hand", source={"uri": "file:a/", "notice": "manual"})
    make_service(films, "nightly", source={"uri": "file:b/", "notice": "0 0 29 2 *"})
    seen: list[str] = []
    monkeypatch.setattr(sources, "newest", lambda service: seen.append(service.name) or actions.Seen())
    tick()
    assert (seen, SourceWatch.objects.filter(looked_at__isnull=False).count()) == ([], 2)


def test_the_newest_complete_drop_is_found_without_looking_into_older_ones(films_service, folders, monkeypatch):
    for name in ("1", "2", "3"):
        write_drop(films_service, name)
    (write_drop(films_service, "4") / "manifest.json").unlink()
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(os.path.basename(path)) or scandir(path))
    assert sources.newest(films_service).name == "3"
    assert not {"1", "2"} & set(listed)


def test_beat_rings_for_it_on_the_queue_of_the_control_worker():
    entry = app.app.conf.beat_schedule["sources"]
    assert (entry["task"], entry["options"]["queue"]) == ("sweep.sources", "control")
    assert tasks.sweep_sources.name == "sweep.sources"
    assert tasks.sweep_sources.time_limit == sources.TICK_SECONDS_KILLED > sources.TICK_SECONDS_MAX
    assert "sweep.sources" not in QUEUES
