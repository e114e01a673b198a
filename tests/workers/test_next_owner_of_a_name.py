"""A service is deleted and its name taken anew: its files and the next owner's have nothing to do with each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundles.artifact import open_artifact
from catalog.actions import service_delete
from tests.factories import TESTER, make_service
from tests.support.history import asked, refreshed
from tests.workers.aftermath import tidy
from tests.workers.conftest import finish
from versions.models import Build, Version
from workers import files

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_what_the_owner_before_left_is_swept_and_what_is_live_now_stays(films, build_of, node, monkeypatch):
    """Both count from 1, so that their versions, builds and fences have the same numbers."""
    before = make_service(films)
    assert build_of(before, "20260101").state == "SUCCEEDED"
    left = Version.objects.get(service=before)
    service_delete(actor=TESTER, service=refreshed(before))
    now = make_service(films)
    assert finish(asked(now)).state == "SUCCEEDED"
    made = Version.objects.get(service=now)
    assert [Path(each.artifact).name.partition("-")[2] for each in (left, made)] == ["v1-b1-f1"] * 2
    opens(left)
    tidy(monkeypatch)
    opens(made)
    left.refresh_from_db()
    assert (Path(left.artifact).exists(), left.state, refreshed(now).live_version) == (False, "RETIRED", 1)


def test_a_failed_build_of_the_owner_before_keeps_no_folder_that_the_next_one_works_in(
    films, build_of, node, monkeypatch
):
    node.load_error = "the disk is full"
    before = make_service(films)
    failed = build_of(before, "20260101")
    service_delete(actor=TESTER, service=refreshed(before))
    node.load_error = ""
    now = make_service(films, versions={"activate": "on_approval"})
    build = finish(asked(now))
    assert (failed.state, build.state, build.error_reason) == ("FAILED", "HELD", "approval.required")
    assert failed.work_dir != build.work_dir
    monkeypatch.setattr(files, "FAILED_WORK_SECONDS", 0)
    files.delete_files()
    assert [Path(each.work_dir).is_dir() for each in (failed, build)] == [False, True]


def test_a_platform_on_which_the_names_have_met_already_loses_nothing_more(films, build_of, node, monkeypatch):
    """As it was before the names held the service's key: two rows of versions, and of builds, name one folder."""
    before = make_service(films)
    assert build_of(before, "20260101").state == "SUCCEEDED"
    service_delete(actor=TESTER, service=refreshed(before))
    now = make_service(films, versions={"activate": "on_approval"})
    waiting = finish(asked(now))
    made = Version.objects.get(service=now)
    renamed(Version.objects.filter(service__name="movies"), Path(made.artifact), "artifact", "v1-b1-f1")
    renamed(Build.objects.filter(service__name="movies"), Path(waiting.work_dir), "work_dir", "build-1-f1")
    tidy(monkeypatch)
    made.refresh_from_db()
    opens(made)
    waiting.refresh_from_db()
    assert Path(waiting.work_dir).is_dir()
    assert Version.objects.get(service=before).files_deleted_at is not None


def test_files_with_the_names_of_before_are_loaded_and_swept_as_ever(films, build_of, node, monkeypatch):
    service = make_service(films)
    assert build_of(service, "20260101").state == "SUCCEEDED"
    made = Version.objects.get()
    renamed(Version.objects.all(), Path(made.artifact), "artifact", "v1-b1-f1")
    orphan = Path(made.artifact).with_name(".v2-b2-f1")
    orphan.mkdir()
    tidy(monkeypatch)
    made.refresh_from_db()
    opens(made)
    assert not orphan.exists()
    service_delete(actor=TESTER, service=refreshed(service))
    tidy(monkeypatch)
    assert not Path(made.artifact).exists()


def opens(version: Version) -> None:
    artifact = open_artifact(Path(version.artifact), version.manifest_sha256)
    assert (artifact.manifest["service"], artifact.items) == ("movies", version.items)


def renamed(rows, path: Path, column: str, name: str) -> None:
    """Gives a folder the name that it would have had before, in every row."""
    path.rename(path.with_name(name))
    rows.update(**{column: str(path.with_name(name))})
