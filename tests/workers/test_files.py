"""Files that no row wants any more are deleted, and no others."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from bundles import layout
from bundles.artifact import open_artifact
from bundles.errors import ArtifactError
from tests.factories import TESTER
from tests.support.artifacts import make_artifact
from tests.support.history import activated, asked, claimed, completed, made_version, resolved
from versions import actions
from versions.models import Build, Replica, Version
from workers import files

pytestmark = pytest.mark.django_db

OLD_SECONDS = 24 * 3600


def folder(root: Path, name: str, *, age_seconds: float = 0) -> Path:
    """A folder of `films/movies` with something in it."""
    path = root / "films" / "movies" / name
    path.mkdir(parents=True)
    (path / "vectors.npy").write_bytes(b"x")
    at = time.time() - age_seconds
    os.utime(path, (at, at))
    return path


@pytest.fixture
def artifacts(folders, settings) -> Path:
    return Path(settings.RECALL_ARTIFACTS)


@pytest.fixture
def work(folders, settings) -> Path:
    return Path(settings.RECALL_WORK)


def test_the_files_of_a_retired_version_go_and_those_of_live_stay(films_service, artifacts):
    old, live = (activated(made_version(films_service)) for _ in range(2))
    paths = [folder(artifacts, f"v{version.number}-b{version.number}-f1") for version in (old, live)]
    for version, path in zip((old, live), paths, strict=True):
        Version.objects.filter(pk=version.pk).update(artifact=str(path))
    Version.objects.filter(pk=old.pk).update(state="RETIRED")
    files.delete_files()
    assert paths[0].exists()  # It is still loaded.
    Replica.objects.filter(version=old).update(state="GONE")
    files.delete_files()
    assert [path.exists() for path in paths] == [False, True]
    assert Version.objects.get(pk=old.pk).files_deleted_at is not None


def test_a_failed_build_keeps_its_folder_for_a_retry_and_a_cancelled_one_does_not(films_service, work):
    failed, cancelled = asked(films_service), asked(films_service)
    for build in (failed, cancelled):
        claim = claimed(build)
        resolved(claim, f"drop-{build.number}")
        actions.work_dir_set(claim, str(folder(work, f"build-{build.number}-f1")))
        if build == failed:
            actions.build_fail(claim, reason="engine.crashed", owner="platform", message="")
        else:
            actions.build_stop(claim, reason="build.cancelled", message="")
    files.delete_files()
    assert [path.name for path in (work / "films" / "movies").iterdir()] == ["build-1-f1"]
    Build.objects.filter(pk=failed.pk).update(ended_at="2020-01-01T00:00:00+00:00")
    files.delete_files()
    assert list((work / "films" / "movies").iterdir()) == []
    assert set(Build.objects.values_list("work_dir", flat=True)) == {""}


def test_a_folder_that_a_retry_took_up_again_stays_with_it(films_service, work):
    build = asked(films_service)
    claim = claimed(build)
    actions.work_dir_set(claim, str(folder(work, "build-1-f1")))
    actions.build_fail(claim, reason="engine.crashed", owner="platform", message="")
    stale = Build.objects.get(pk=build.pk)
    actions.build_retry(actor=TESTER, build=build)
    actions.work_dir_deleted(build=stale)
    assert Build.objects.get(pk=build.pk).work_dir == str(work / "films" / "movies" / "build-1-f1")


def test_what_a_worker_that_lost_its_fence_left_goes_when_it_is_old(films_service, artifacts, work):
    claim = claimed(asked(films_service))
    version = completed(claim)
    kept = folder(artifacts, "v1-b1-f2", age_seconds=OLD_SECONDS)
    Version.objects.filter(pk=version.pk).update(artifact=str(kept))
    used = folder(work, "build-1-f1", age_seconds=OLD_SECONDS)
    actions.work_dir_set(claim, str(used))
    garbage = [
        folder(artifacts, "v1-b1-f1", age_seconds=OLD_SECONDS),
        folder(artifacts, ".v1-b1-f3", age_seconds=OLD_SECONDS),
        folder(work, "build-9-f1", age_seconds=OLD_SECONDS),
        folder(artifacts, "s7-v1-b1-f1", age_seconds=OLD_SECONDS),
        folder(artifacts, ".s7-v1-b1-f3", age_seconds=OLD_SECONDS),
        folder(work, "s7-build-9-f1", age_seconds=OLD_SECONDS),
    ]
    spared = [
        folder(artifacts, "v1-b1-f4"),
        folder(artifacts, "s7-v1-b1-f4"),
        folder(artifacts, "s-v1-b1-f4", age_seconds=OLD_SECONDS),
        folder(artifacts, "my-notes", age_seconds=OLD_SECONDS),
        folder(work, "build-10-f1"),
        kept,
        used,
    ]
    files.delete_orphans()
    assert [path.exists() for path in garbage] == [False] * 6
    assert [path.exists() for path in spared] == [True] * 7


def test_nothing_outside_the_roots_is_deleted_whatever_a_row_says(films_service, folders, artifacts, caplog):
    precious = folders / "drops" / "films" / "movies"
    precious.mkdir(parents=True)
    link = artifacts / "films" / "movies" / "v2-b2-f1"
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    for path in (precious, artifacts / "films" / "movies", link, artifacts / ".." / "drops" / "films" / "movies"):
        version = made_version(films_service, loaded=False)
        Version.objects.filter(pk=version.pk).update(artifact=str(path), state="FAILED")
    files.delete_files()
    assert precious.is_dir()
    assert link.is_symlink()
    assert caplog.text.count("is not deleted") == 4


def test_what_the_disk_will_not_give_up_is_tried_again(films_service, artifacts, work, monkeypatch):
    claim = claimed(asked(films_service))
    version = completed(claim, artifact=str(folder(artifacts, "v1-b1-f1")))
    actions.work_dir_set(claim, str(folder(work, "build-1-f1")))
    actions.build_stop(claim, reason="build.cancelled", message="")

    def refuse(path: Path, **_: object) -> None:
        raise OSError("Device or resource busy")

    with monkeypatch.context() as busy:
        busy.setattr(files.shutil, "rmtree", refuse)
        files.delete_files()
    assert Version.objects.get(pk=version.pk).files_deleted_at is None
    assert Build.objects.get().work_dir != ""
    files.delete_files()
    assert list(artifacts.glob("*/*/*")) == list(work.glob("*/*/*")) == []
    assert Version.objects.get(pk=version.pk).files_deleted_at is not None
    assert Build.objects.get().work_dir == ""


def test_an_artifact_whose_deletion_was_cut_short_cannot_be_opened_and_is_deleted_at_last(
    films_service, artifacts, tmp_path
):
    made = make_artifact(tmp_path / "made", items=20, dimension=4)
    path = artifacts / "films" / "movies" / "v1-b1-f1"
    shutil.copytree(made.path, path)
    version = made_version(films_service, loaded=False, artifact=str(path), manifest_sha256=made.manifest_sha256)
    Version.objects.filter(pk=version.pk).update(state="RETIRED")
    (path / layout.VECTORS).unlink()
    with pytest.raises(ArtifactError, match="not there"):
        open_artifact(path, made.manifest_sha256)
    files.delete_files()
    assert not path.exists()
