"""Who goes back to a server where an index is being made ends that build; nobody else's is touched, no name is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.models import Alert
from audit.models import AuditEvent
from catalog.models import Service
from engines.milvus.reference import Reference
from tests.factories import TESTER, make_service
from tests.support.history import activated, asked, claimed, expired, made_version, refreshed
from versions import actions
from versions.models import Activation, Build, Version
from versions.views import build_view
from workers.making_way import make_way

pytestmark = pytest.mark.django_db


@pytest.fixture
def series(films, tmp_path) -> Service:
    """Version 2 is live at blue, and version 1, before it, is at green."""
    series = make_service(films, "series")
    for number, instance in ((1, "green"), (2, "blue")):
        activated(made_version(series, artifact=str(artifact_at(instance, tmp_path / f"series-{number}"))))
    return refreshed(series)


@pytest.fixture
def building(tmp_path):
    """A build whose index is being made at an instance."""

    def begin(service: Service, instance: str = "green") -> Build:
        build = asked(service)
        claim = claimed(build)
        work = tmp_path / f"work-{build.pk}"
        index_at(instance, work / f"index-f{claim.fence}")
        actions.work_dir_set(claim, str(work))
        actions.step_start(claim, "build_index")
        return Build.objects.get(pk=build.pk)

    return begin


def test_a_rollback_to_where_an_index_is_made_ends_that_build(series, films_service, building):
    build, elsewhere = building(films_service), building(make_service(series.tenant, "shorts"), "blue")
    make_way()
    assert not is_ended(build)
    actions.version_rollback(actor=TESTER, service=series)
    make_way()
    assert (is_ended(build), is_ended(elsewhere)) == (True, False)
    build.refresh_from_db()
    assert (build.state, build.error_reason) == ("RUNNING", "build.made_way")
    assert build.error_message == (
        "The service series went to a version by hand that is served where this index was being made, and would have "
        "been slow until it was done. Nothing that is live has changed by the end of this build. Ask for a new build: "
        "it looks for a place anew."
    )
    assert build_view(build)["error"] is None
    event = AuditEvent.objects.get(verb="build.make_way")
    assert (event.target, event.service, event.reason) == ("build 1", "movies", build.error_message)
    make_way()
    assert AuditEvent.objects.filter(verb="build.make_way").count() == 1


def test_that_nobody_builds_the_drop_now_is_alerted_until_a_later_build_succeeds(series, films_service, building):
    building(films_service)
    actions.version_rollback(actor=TESTER, service=series)
    make_way()
    alert = Alert.objects.get(reason="build.made_way")
    assert (alert.state, alert.service, alert.message) == (
        "OPEN",
        films_service,
        "Build 1 was ended for the sake of what serves where it was made. Ask for a new one.",
    )
    made_version(films_service)
    alert.refresh_from_db()
    assert alert.state == "RESOLVED"


def test_whoever_goes_on_with_it_hears_it_too(series, films_service, building):
    build = building(films_service)
    actions.version_rollback(actor=TESTER, service=series)
    make_way()
    expired(build)
    claim = actions.build_claim(build.pk, owner="another worker")
    assert claim is not None
    assert actions.lease_renew(claim)


def test_a_build_that_nobody_works_on_ends_at_once(series, films_service, building):
    build = building(films_service)
    Build.objects.filter(pk=build.pk).update(wake_at="2030-01-01T00:00:00+00:00")
    actions.version_rollback(actor=TESTER, service=series)
    make_way()
    build.refresh_from_db()
    assert (build.state, build.error_reason) == ("CANCELLED", "build.made_way")
    assert build_view(build)["error"]["next_step"] == "Ask for a new build when you want one."


def test_another_team_is_told_no_name(series, books_service, building):
    build = building(books_service)
    actions.version_rollback(actor=TESTER, service=series)
    make_way()
    build.refresh_from_db()
    assert build.error_message.startswith("Another service went to a version by hand")
    for name in ("series", "films"):
        assert name not in build.error_message


def test_an_own_activation_by_hand_counts_and_one_by_a_build_does_not(series, building):
    build = building(series)
    actions.version_activate(actor=TESTER, service=series, number=1)
    Activation.objects.filter(to_version=1).update(by_build=True)
    make_way()
    assert not is_ended(build)
    Activation.objects.filter(to_version=1).update(by_build=False)
    make_way()
    build.refresh_from_db()
    assert build.error_message.startswith("This service went to a version by hand")


def test_what_is_indexed_already_is_left_alone(series, films_service, building):
    build = building(films_service)
    build.steps.filter(name="build_index").update(state="DONE")
    actions.version_rollback(actor=TESTER, service=series)
    make_way()
    assert not is_ended(build)
    assert not actions.build_make_way(build=build, message="Too late.")
    assert not is_ended(build)


def test_who_was_served_beside_the_build_before_ends_none(series, films_service, building, tmp_path):
    third = made_version(series, artifact=str(artifact_at("green", tmp_path / "series-3")))
    activated(third)
    build = building(films_service)
    Version.objects.filter(service=series, number=2).update(bad_at="2020-01-01T00:00:00+00:00")
    assert actions.version_rollback(actor=TESTER, service=series).to_version == 1
    make_way()
    assert not is_ended(build)


def test_a_switch_from_before_the_build_or_one_that_was_taken_back_ends_none(series, films_service, building):
    actions.version_activate(actor=TESTER, service=series, number=1)
    build = building(films_service)
    make_way()
    assert not is_ended(build)
    actions.version_activate(actor=TESTER, service=series, number=2)
    actions.version_activate(actor=TESTER, service=series, number=1)
    actions.version_activate(actor=TESTER, service=series, number=2)
    make_way()
    assert not is_ended(build)


def test_an_index_that_is_its_files_is_in_nobodys_way(films_service, series, tmp_path):
    build = asked(films_service)
    claim = claimed(build)
    (tmp_path / "work" / f"index-f{claim.fence}").mkdir(parents=True)
    actions.work_dir_set(claim, str(tmp_path / "work"))
    actions.step_start(claim, "build_index")
    actions.version_rollback(actor=TESTER, service=series)
    make_way()
    assert not is_ended(build)


def is_ended(build: Build) -> bool:
    return Build.objects.get(pk=build.pk).cancel_requested_at is not None


def artifact_at(instance: str, folder: Path) -> Path:
    index_at(instance, folder / "index")
    return folder


def index_at(instance: str, folder: Path) -> None:
    """Where an index says that it is."""
    folder.mkdir(parents=True)
    Reference(instance=instance, collection="recall_00", index_type="FLAT", metric="ip", dimension=4, rows=1).write(
        folder
    )
