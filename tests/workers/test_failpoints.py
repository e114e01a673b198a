"""A worker is killed at each place that has a name, and whatever it was doing, the platform gets over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import failpoints
from audit.models import AuditEvent
from catalog.models import Service
from tests.factories import TESTER
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.forked_workers import Workers, forked_workers
from tests.support.history import asked, expired, refreshed
from tests.workers.aftermath import (
    check_no_orphan_is_left,
    check_no_process_is_left,
    check_nothing_partial_opens,
    check_the_route_answers,
    copied,
    deliver,
    rung_for,
    serve,
    tidy,
)
from tests.workers.conftest import finish, published
from versions import actions, selectors
from versions.models import Build, Version
from workers import pipeline

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

STEP_BOUNDARIES = [f"step.{step.name}.{when}" for step in pipeline.STEPS for when in ("before", "after")]
IN_A_CHILD = [name for name in failpoints.NAMES if name.partition(".")[0].endswith("_child")]
IN_THE_WORKER = [name for name in (*failpoints.NAMES, *STEP_BOUNDARIES) if name not in IN_A_CHILD]
BEFORE_THE_ARTIFACT = {
    *(name for name in failpoints.NAMES if name.startswith("publish.")),
    *STEP_BOUNDARIES[: STEP_BOUNDARIES.index("step.publish_artifact.after") + 1],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    return make_artifact(tmp_path_factory.mktemp("live"), items=60, dimension=4, service="movies")


@pytest.fixture(scope="module")
def workers(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with forked_workers(tmp_path_factory.mktemp("workers")) as pool:
        yield pool


@pytest.fixture
def live(films_service: Service, made: MadeArtifact, folders: Path, node) -> Service:
    """Version 1 is live, and a drop with the same items has come."""
    serve(films_service, made)
    deliver(films_service, made, "20260101")
    return refreshed(films_service)


def begun(service: Service, made: MadeArtifact, name: str) -> Build:
    """A build that will come by failpoint `name`; one far on its way has had its artifact made already."""
    if name in IN_A_CHILD or name in BEFORE_THE_ARTIFACT:
        return asked(service)
    return published(service, items=len(made.ids), **copied(made, service, "v2-b2-f1"))


@pytest.mark.parametrize("name", IN_THE_WORKER)
def test_a_worker_that_dies_there_is_followed_by_another_and_the_build_ends_well(
    name, live, workers, valkey, made, folders, monkeypatch
):
    service, build = live, begun(live, made, name)
    assert workers.killed_at(build, name)

    check_no_process_is_left(folders)
    before = check_the_route_answers(service, valkey, made)
    assert 1 in before
    check_nothing_partial_opens(service, valkey, made)
    expired(build)
    assert rung_for(build, valkey)
    build = finish(build)

    assert (build.state, build.error_reason) == ("SUCCEEDED", ""), build.error_message
    tidy(monkeypatch)
    assert check_the_route_answers(service, valkey, made) == [2, 1]
    check_nothing_partial_opens(service, valkey, made)
    check_no_orphan_is_left(service, valkey)
    assert [(each.number, each.state) for each in selectors.versions_of(service)] == [(2, "READY"), (1, "READY")]
    assert [each.to_version for each in selectors.activations_of(service)] == [2, 1]
    assert AuditEvent.objects.filter(verb="service.activate").count() == 2


@pytest.mark.parametrize("name", IN_A_CHILD)
def test_a_child_that_dies_there_fails_its_build_with_the_cause_and_a_retry_ends_well(
    name, live, workers, valkey, made, folders, monkeypatch
):
    service, build = live, begun(live, made, name)
    assert workers.start(build, f"{name}=kill").wait() == 0

    build.refresh_from_db()
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "engine.crashed", "platform")
    assert "was ended by SIGKILL" in build.error_message
    assert f"failpoint {name}: kill" in build.error_message
    check_no_process_is_left(folders)
    tidy(monkeypatch)
    assert check_the_route_answers(service, valkey, made) == [1]
    check_nothing_partial_opens(service, valkey, made)
    check_no_orphan_is_left(service, valkey)

    build = finish(actions.build_retry(actor=TESTER, build=build))
    assert build.state == "SUCCEEDED"
    assert refreshed(service).live_version == build.version_number
    tidy(monkeypatch)
    check_no_orphan_is_left(service, valkey)
    assert Version.objects.filter(state="BUILDING").count() == 0


def test_a_step_that_fails_in_a_way_nobody_foresaw_fails_the_build_and_nothing_else(
    live, workers, valkey, made, monkeypatch
):
    build = asked(live)
    assert workers.start(build, "publish.before_rename=raise").wait() == 0
    build.refresh_from_db()
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "platform.internal", "platform")
    tidy(monkeypatch)
    assert check_the_route_answers(live, valkey, made) == [1]
    check_no_orphan_is_left(live, valkey)
