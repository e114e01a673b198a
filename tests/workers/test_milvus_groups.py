"""Two services of one group over two instances: they change instances together, and whoever goes back goes first.

Builds and a real node; only the servers are smaller than those of a real installation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connections

from audit.models import AuditEvent
from catalog.models import Service
from engines.milvus.reference import read_reference
from tests.factories import TESTER, make_service
from tests.support.history import asked, refreshed
from tests.support.nodes import running_node
from tests.support.source import write_drop
from tests.workers.conftest import RINGS_MAX, finish, ring
from tests.workers.test_milvus_life import DIMENSION, FEW, GUARDS, MANY, collections, until
from versions import actions, selectors
from versions.models import Build
from workers.making_way import make_way

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

SCHEMA = {"dimension": DIMENSION, "metric": "ip"}


@pytest.fixture
def grouped(instances, films, folders, valkey) -> Iterator[Callable[[str], Service]]:
    """Services of Alice that move together, beside a real node."""

    def make(name: str) -> Service:
        blocks = {"engine": "milvus", "search": {"at": 10}, "guards": GUARDS, "versions": {"group": "shelf"}}
        return make_service(films, name, schema=SCHEMA, **blocks)

    with running_node(folders / "node", valkey):
        yield make


def test_a_group_changes_instances_together_and_a_rollback_ends_the_build_in_its_way(grouped):
    movies = grouped("movies")
    write_drop(movies, "1", items=FEW, dimension=DIMENSION)
    assert finish(asked(movies)).state == "SUCCEEDED"
    assert place(movies, 1) == "blue"

    # The first version of the other one is made where nothing of the group is live, and movies follows it there.
    series = grouped("series")
    write_drop(series, "1", items=FEW + 1, dimension=DIMENSION)
    move_together(asked(series), movies)
    assert (live_at(series), live_at(movies)) == ((1, "green"), (2, "green"))

    # A new drop of one of them moves both, each to where nobody of them is live.
    write_drop(movies, "2", items=FEW + 2, dimension=DIMENSION)
    build = move_together(asked(movies), series)
    assert (live_at(movies), live_at(series)) == ((3, "blue"), (2, "blue"))
    assert build.report["index"]["beside"] == {
        "own_live_here": False,
        "others_live_here": 0,
        "others_building_here": 0,
        "builds_here": [],
        "p99": [],
    }

    # Both are at blue now, so that the next ones are made at green, until series goes back to there.
    write_drop(movies, "3", items=MANY, dimension=DIMENSION)
    going_back = threading.Thread(target=go_back_when_there_are_more_than, args=(collections(), series))
    going_back.start()
    build = finish(asked(movies))
    going_back.join()
    assert (build.state, build.error_reason) == ("CANCELLED", "build.made_way"), build.error_message
    assert build.error_message.startswith("The service series went to a version by hand that is served where this")
    assert AuditEvent.objects.get(verb="build.make_way").target == f"build {build.number}"
    assert (live_at(movies), live_at(series)) == ((3, "blue"), (1, "green"))


def move_together(build: Build, other: Service) -> Build:
    """Has `build` wait for the build of `other` that it has asked for, and then both switch."""
    build = parked(build)
    assert f"build {other.builds.count()} of {other.name}" in build.steps.get(name="activate").detail
    move = finish(Build.objects.get(service=other, state="PENDING"))
    build = finish(build)
    assert (move.state, build.state) == ("SUCCEEDED", "SUCCEEDED"), move.error_message or build.error_message
    return build


def parked(build: Build) -> Build:
    for _ in range(RINGS_MAX):
        build = ring(build)
        assert build.state == "RUNNING", build.error_message
        if build.parked:
            return build
    raise AssertionError(f"{build} does not come to the switch: {build.report}")


def go_back_when_there_are_more_than(before: set[tuple[str, str]], service: Service) -> None:
    """And looks as the sweeper does, each second, for builds in the way."""
    try:
        until(lambda: collections() > before, "the build to make a collection")
        assert {where for where, _ in collections() - before} == {"green"}
        began = time.monotonic()
        actions.version_rollback(actor=TESTER, service=service)
        assert time.monotonic() - began < 10
        make_way()
    finally:
        connections.close_all()


def live_at(service: Service) -> tuple[int | None, str]:
    live = refreshed(service).live_version
    return live, place(service, live or 0)


def place(service: Service, number: int) -> str:
    return read_reference(Path(selectors.version_get(service, number).artifact) / "index").instance
