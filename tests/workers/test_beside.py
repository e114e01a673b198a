"""Which neighbours a build at a server is told of, where its group's builds are made, and what neighbours noticed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from catalog.actions import service_update
from catalog.models import Service
from engines import registry
from engines.milvus.placing import building_instance
from tests.factories import TESTER, make_service, make_tenant
from tests.support.history import activated, asked, claimed, made_version, refreshed
from tests.support.traffic import asked as was_asked
from tests.support.traffic import calls
from tests.workers.test_making_way import artifact_at, index_at
from versions import actions
from versions.actions import Claim
from versions.models import Build, Replica, Version
from versions.neighbours import versions_beside
from workers import beside
from workers.places import index_being_made

pytestmark = pytest.mark.django_db

REMOTE = registry.remote_names()[0]
NOBODY_BUILDS = {"others_building_here": 0, "builds_here": []}


@pytest.fixture
def three(monkeypatch) -> None:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue=http://h:1,green=http://h:2,yellow=http://h:3")


@pytest.fixture
def indexing(tmp_path):
    """A build whose index is made where `beside` says, as the builder would do it."""

    def begin(service: Service) -> tuple[Build, str]:
        claim = claimed(asked(service))
        there = beside.look(refreshed(service))
        instance = building_instance(there.indexes, there.together)
        index_at(instance, work_of(claim, tmp_path) / f"index-f{claim.fence}")
        actions.work_dir_set(claim, str(work_of(claim, tmp_path)))
        actions.step_start(claim, "build_index")
        return Build.objects.get(pk=claim.build_id), instance

    return begin


def work_of(claim, tmp_path: Path) -> Path:
    return tmp_path / f"work-{claim.build_id}"


@pytest.fixture
def at(tmp_path):
    """A loaded version of a service, whose index is at an instance."""

    def make(service: Service, instance: str, *, live: bool = True) -> Version:
        folder = tmp_path / f"{service.pk}-{service.versions.count() + 1}"
        version = made_version(service, artifact=str(artifact_at(instance, folder)), engine=REMOTE)
        return activated(version) if live else version

    return make


def test_what_is_live_comes_first_then_what_else_is_loaded_the_group_before_others(films, books_service, at):
    movies, series = make_service(films, "movies"), make_service(films, "series")
    at(books_service, "red")
    for service in (series, movies):
        at(service, "blue")
        at(service, "green")
    made_version(movies)
    alone = ["movies 2", "novels 1", "series 2", "movies 1", "series 1"]
    assert names(versions_beside(refreshed(movies))) == alone
    for service in (series, movies):
        service_update(actor=TESTER, service=refreshed(service), spec={"versions": {"group": "shelf"}})
    together = ["movies 2", "series 2", "novels 1", "movies 1", "series 1"]
    assert names(versions_beside(refreshed(movies))) == names(versions_beside(refreshed(series))) == together
    Replica.objects.filter(version__service=series).update(state="GONE")
    assert names(versions_beside(refreshed(movies))) == ["movies 2", "series 2", "novels 1", "movies 1"]


def test_however_many_neighbours_there_are_few_queries_are_asked(films, at, django_assert_max_num_queries):
    for number in range(6):
        at(make_service(films, f"service-{number}"), "blue")
    first = Service.objects.get(name="service-0")
    with django_assert_max_num_queries(2):
        assert len(versions_beside(first)) == 6


def test_a_build_joins_its_group_where_nobody_of_it_is_live(films, at, tmp_path, monkeypatch):
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue=http://h:1,green=http://h:2,red=http://h:3")
    movies, series = (make_service(films, name, versions={"group": "shelf"}) for name in ("movies", "series"))
    at(movies, "blue")
    at(series, "blue")
    # The move of series that the version of movies on paper has asked for.
    series.builds.filter(state="PENDING").delete()
    claim = claimed(asked(movies))
    index_at("red", tmp_path / "work" / f"index-f{claim.fence}")
    actions.work_dir_set(claim, str(tmp_path / "work"))
    there = beside.look(refreshed(series))
    assert there.together == (str(tmp_path / "work" / f"index-f{claim.fence}"),)
    assert building_instance(there.indexes, there.together) == "red"
    assert building_instance(there.indexes) == "green"

    at(series, "red")
    there = beside.look(refreshed(series))
    assert there.together == ()
    assert building_instance(there.indexes, there.together) == "green"


def test_a_group_that_lies_apart_comes_together_at_one_place(films, at, monkeypatch):
    """Which one of them is served at already: the other way round they would only change places, each time."""
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue=http://h:1,green=http://h:2")
    movies, series = (grouped(films, name) for name in ("movies", "series"))
    at(movies, "blue")
    at(series, "green")
    assert (place_for(movies), place_for(series)) == ("green", "green")


def test_who_has_nobody_to_come_together_with_is_not_made_where_its_own_live_version_is(films, at, monkeypatch):
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue=http://h:1,green=http://h:2")
    movies, series = (grouped(films, name) for name in ("movies", "series"))
    at(movies, "blue")
    at(series, "green")
    service_update(actor=TESTER, service=refreshed(movies), spec={"engine": "hnsw"})
    assert place_for(series) == "blue"


def grouped(films, name: str) -> Service:
    return make_service(films, name, engine=REMOTE, versions={"group": "shelf"})


def place_for(service: Service) -> str:
    there = beside.look(refreshed(service))
    return building_instance(there.indexes, there.together, there.own)


def test_the_own_live_version_is_told_apart_from_those_beside_it(films, films_service, at):
    at(make_service(films, "series"), "blue")
    assert beside.look(refreshed(films_service)).own == ()
    at(films_service, "green", live=False)
    live = at(films_service, "blue")
    assert beside.look(refreshed(films_service)).own == (str(Path(live.artifact) / "index"),)


def test_two_teams_that_build_at_once_get_different_instances(films_service, books_service, at, three, indexing):
    at(films_service, "blue")
    at(books_service, "blue")
    (_, first), (_, second) = indexing(films_service), indexing(books_service)
    assert (first, second) == ("green", "yellow")


def test_what_is_under_way_stands_between_what_is_live_and_what_is_only_loaded(
    films, films_service, books_service, at, three, indexing
):
    at(books_service, "yellow", live=False)
    at(films_service, "blue")
    assert indexing(films_service)[1] == "green"
    series = make_service(films, "series")
    assert indexing(series)[1] == "yellow"
    # Where something is live or under way everywhere, nobody is built where somebody is served.
    at(books_service, "yellow")
    assert indexing(make_service(make_tenant("songs"), "charts"))[1] == "green"


def test_a_build_that_is_done_with_its_index_counts_until_it_has_ended(
    films_service, books_service, at, three, indexing
):
    at(films_service, "blue")
    build, instance = indexing(films_service)
    actions.step_start(Claim(build.pk, build.fence), "activate")
    assert indexing(books_service)[1] != instance
    Build.objects.filter(service=books_service).delete()
    Build.objects.filter(pk=build.pk).update(state="FAILED")
    assert indexing(books_service)[1] == instance


def test_however_many_builds_are_under_way_few_queries_are_asked(three, indexing, django_assert_max_num_queries):
    services = [make_service(make_tenant(f"team-{number}"), "movies") for number in range(6)]
    for service in services:
        indexing(service)
    with django_assert_max_num_queries(4):
        assert len(beside.look(services[0]).moving) == 5


def test_who_switched_while_an_index_was_made_is_counted_in_its_report(
    films_service, books_service, at, three, indexing, tmp_path
):
    build, instance = indexing(films_service)
    there, index = beside.look(films_service), index_being_made(build)
    assert beside.report(there, index, since=timezone.now())["others_live_here"] == 0
    at(books_service, instance)
    assert beside.report(there, index, since=timezone.now())["others_live_here"] == 1
    # And whoever was there and has left has noticed it, too.
    there = beside.look(films_service)
    at(books_service, "yellow")
    assert beside.report(there, index, since=timezone.now())["others_live_here"] == 1


def test_a_report_names_the_teams_own_builds_at_the_same_server_and_counts_the_others(
    films, films_service, books_service, monkeypatch, indexing, tmp_path
):
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue=http://h:1")
    for service in (films_service, make_service(films, "series"), books_service):
        build, _ = indexing(service)
    told = beside.report(beside.look(films_service), tmp_path / f"work-{build.pk}" / "index-f1", since=timezone.now())
    assert (told["others_building_here"], told["builds_here"]) == (2, ["build 1 of series"])
    assert beside.sentences(told) == [
        "Indexes of 2 other services are being made at the same server (build 1 of series). "
        "Whichever goes live first is served where the other one is being made."
    ]


def test_a_switch_to_where_another_index_is_being_made_says_so(films_service, books_service, at, three, indexing):
    build, instance = indexing(books_service)
    assert beside.at_switch(at(films_service, "green")) == {}
    told = beside.at_switch(at(films_service, instance))
    assert told == {"others_building_here": 1, "builds_here": []}
    assert beside.switch_sentences(told) == [
        "The index of another service is being made at the same server. Until it is made, p99 here may suffer."
    ]
    Build.objects.filter(pk=build.pk).update(state="FAILED")
    assert beside.at_switch(Version.objects.get(service=films_service, number=2)) == {}


def test_a_build_beside_live_versions_says_so_with_a_count_and_without_other_teams_names(
    films, films_service, books_service, at, tmp_path
):
    at(films_service, "blue")
    at(books_service, "blue")
    at(make_service(films, "series"), "green")
    index_at("blue", tmp_path / "index")
    told = beside.report(beside.look(films_service), tmp_path / "index", since=timezone.now())
    assert told == {"own_live_here": True, "others_live_here": 1, **NOBODY_BUILDS, "p99": []}
    assert beside.sentences(told) == [
        "The index was made at the server that serves the live version, whose searches may have been slower.",
        "The index was made at a server that serves a live version of another service, whose p99 may have suffered.",
    ]
    index_at("red", tmp_path / "free")
    told = beside.report(beside.look(films_service), tmp_path / "free", since=timezone.now())
    assert beside.sentences(told) == []
    (tmp_path / "files").mkdir()
    assert beside.report(beside.look(films_service), tmp_path / "files", since=timezone.now()) == {}


def test_the_p99_of_the_teams_own_services_there_is_told_beside_that_of_the_hour_before(
    films, films_service, books_service, at, tmp_path
):
    series, quiet = make_service(films, "series"), make_service(films, "quiet")
    for service in (series, quiet, books_service):
        at(service, "green")
        was_asked(service, calls(10 if service is quiet else 1_000, seconds=0.0015), spans_ago=30)
        was_asked(service, calls(10 if service is quiet else 1_000, seconds=0.015), spans_ago=2)
    index_at("green", tmp_path / "index")
    since = timezone.now() - timedelta(seconds=200)
    told = beside.report(beside.look(films_service), tmp_path / "index", since=since)
    assert told["others_live_here"] == 3
    [found] = told["p99"]
    assert (found["service"], found["here"], found["calls"]) == ("series", True, 1_000)
    assert found["p99_ms_before"] < 2 < 10 < found["p99_ms"]
    assert beside.sentences(told)[-1].startswith("While it was made, p99 of series (at that server) was 14.9")


def names(versions: list[Version]) -> list[str]:
    return [f"{version.service.name} {version.number}" for version in versions]


def test_where_an_index_lies_is_told_without_asking(tmp_path: Path) -> None:
    index_at("blue", tmp_path / "index")
    assert registry.places_of(tmp_path / "index") == frozenset({f"{REMOTE}:blue"})
    assert registry.places_of(tmp_path / "nowhere") == frozenset()
