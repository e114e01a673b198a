"""What an index is made of at a server is removed before the files that name it, and never what is wanted still."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alerts.models import Alert
from engines import registry
from engines.base import IndexSpec
from engines.milvus.connection import instance
from engines.milvus.params import REFERENCE_FILE
from engines.milvus.reference import read_reference
from tests.support.history import activated, asked, claimed, completed, expired, made_version, resolved
from tests.support.milvus import MilvusServer, running_milvus
from versions import actions
from versions.actions import Claim
from versions.models import Build, Version
from workers import files, outside
from workers.outcomes import StepFailed

pytestmark = [pytest.mark.django_db, pytest.mark.servers, pytest.mark.usefixtures("milvus")]

LONG_AGO = "2020-01-01T00:00:00+00:00"
FLAT = IndexSpec("ip", 4, params={"index_type": "FLAT"})


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[MilvusServer]:
    """An instance that a test may kill."""
    with running_milvus() as server:
        monkeypatch.setenv("RECALL_MILVUS_INSTANCES", f"own={server.uri}")
        yield server


def names_of(where: str = "lite") -> set[str]:
    return set(instance(where).tell(lambda client: client.list_collections()))


def built(folder: Path) -> str:
    """The name of the collection that an index in the new `folder` is made of."""
    folder.mkdir(parents=True)
    registry.builder("milvus").build(FLAT, np.eye(4, dtype=np.float32), folder, int)
    return read_reference(folder).collection


def begun(folder: Path) -> str:
    """The same, and the folder is not of just now."""
    collection = built(folder)
    at = time.time() - 2 * files.HALF_MADE_SECONDS
    os.utime(folder, (at, at))
    return collection


def is_made(claim: Claim, index: Path) -> None:
    """As the step that makes it says when it is done."""
    Build.objects.filter(pk=claim.build_id).update(context={"index": {"dir": str(index)}})


def next_claim(build: Build) -> Claim:
    """Of another worker, since the one that had the build has died."""
    claimed(build)
    expired(build)
    return claimed(build)


def linked(index: Path, artifact: Path) -> None:
    """The index as a build publishes it."""
    shutil.copytree(index, artifact / "index")


def retired(service, settings, name: str = "s1-v1-b1-f1") -> tuple[Version, Path, str]:
    """A version whose files are to be deleted, with its artifact and its collection."""
    path = settings.RECALL_ARTIFACTS / "films" / "movies" / name
    collection = built(path / "index")
    version = made_version(service, loaded=False, artifact=str(path))
    Version.objects.filter(pk=version.pk).update(state="RETIRED")
    return version, path, collection


def test_a_collection_goes_with_its_version_and_that_of_another_stays(films_service, folders, settings):
    version, path, collection = retired(films_service, settings)
    stays = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v2-b2-f1"
    wanted = built(stays / "index")
    activated(made_version(films_service, artifact=str(stays)))
    files.delete_files()
    assert (path.exists(), stays.exists()) == (False, True)
    assert names_of() & {collection, wanted} == {wanted}
    assert Version.objects.get(pk=version.pk).files_deleted_at is not None
    assert not Alert.objects.exists()


def test_while_the_server_is_away_the_files_stay_and_an_alert_says_so_until_it_is_back(
    films_service, folders, settings, own, caplog
):
    version, path, collection = retired(films_service, settings)
    plain = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v2-b2-f1"
    (plain / "index").mkdir(parents=True)
    other = made_version(films_service, loaded=False, artifact=str(plain))
    Version.objects.filter(pk=other.pk).update(state="RETIRED")
    own.kill()
    for _ in range(2):
        files.delete_files()
    # What needs no server does not wait for one.
    assert (path.is_dir(), plain.exists()) == (True, False)
    assert Version.objects.get(pk=version.pk).files_deleted_at is None
    assert f"{path} has to stay for now: the instance own" in caplog.text
    alert = Alert.objects.get()
    assert (alert.reason, alert.state, alert.severity, alert.count) == ("engine.left_behind", "OPEN", "warning", 2)
    assert "version 1: the instance own" in alert.message
    own.start()
    files.delete_files()
    assert not path.exists()
    assert collection not in names_of("own")
    assert Alert.objects.get().state == "RESOLVED"


def test_a_deleted_service_leaves_no_collection_and_has_no_alert_while_the_server_is_away(
    films_service, folders, settings, own
):
    _, path, collection = retired(films_service, settings)
    type(films_service).objects.filter(pk=films_service.pk).update(deleted_at=LONG_AGO)
    own.kill()
    files.delete_files()
    assert path.is_dir()
    assert not Alert.objects.exists()
    own.start()
    files.delete_files()
    assert not path.exists()
    assert collection not in names_of("own")


def test_what_a_killed_build_left_goes_with_its_folder_and_what_it_published_stays(films_service, folders, settings):
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    killed, good = built(work / "index-f1"), built(work / "index-f2")
    claim = claimed(asked(films_service))
    resolved(claim, "drop-1")
    actions.work_dir_set(claim, str(work))
    artifact = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v1-b1-f2"
    linked(work / "index-f2", artifact)
    completed(claim, artifact=str(artifact))
    actions.build_succeed(claim)
    files.delete_files()
    assert (work.exists(), artifact.is_dir()) == (False, True)
    assert names_of() & {killed, good} == {good}


def test_a_failed_build_keeps_its_collection_for_a_retry_though_its_version_has_failed(
    films_service, folders, settings
):
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    collection = built(work / "index-f1")
    claim = claimed(asked(films_service))
    resolved(claim, "drop-1")
    actions.work_dir_set(claim, str(work))
    artifact = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v1-b1-f1"
    linked(work / "index-f1", artifact)
    is_made(claim, work / "index-f1")
    completed(claim, artifact=str(artifact))
    actions.build_fail(claim, reason="engine.crashed", owner="platform", message="")
    assert Version.objects.get().state == "FAILED"
    files.delete_files()
    assert (work.is_dir(), artifact.exists()) == (True, False)
    assert collection in names_of()
    Build.objects.update(ended_at=LONG_AGO)
    files.delete_files()
    assert not work.exists()
    assert collection not in names_of()


def test_what_a_worker_that_died_had_begun_goes_while_its_successor_builds(films_service, folders, settings):
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    build = asked(films_service)
    claimed(build)
    expired(build)
    claim = next_claim(build)
    assert claim.fence == 3
    actions.work_dir_set(claim, str(work))
    made, lost, going_on, next_one = (begun(work / f"index-f{fence}") for fence in (1, 2, 3, 4))
    is_made(claim, work / "index-f1")
    files.delete_files()
    assert sorted(path.name for path in work.iterdir()) == ["index-f1", "index-f3", "index-f4"]
    assert names_of() & {made, lost, going_on, next_one} == {made, going_on, next_one}
    assert not Alert.objects.exists()


def test_what_a_failed_build_had_begun_goes_at_once_and_its_folder_stays(films_service, folders, settings):
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    claim = claimed(asked(films_service))
    actions.work_dir_set(claim, str(work))
    collection = begun(work / "index-f1")
    actions.build_fail(claim, reason="build.made_way", owner="platform", message="")
    files.delete_files()
    assert list(work.iterdir()) == []
    assert collection not in names_of()


def test_what_was_begun_a_moment_ago_stays_because_its_collection_may_be_about_to_be_made(
    films_service, folders, settings
):
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    claim = next_claim(asked(films_service))
    actions.work_dir_set(claim, str(work))
    collection = built(work / "index-f1")
    files.delete_files()
    assert (work / "index-f1").is_dir()
    assert collection in names_of()


def test_a_half_made_index_stays_while_its_server_is_away_and_an_alert_names_it(films_service, folders, settings, own):
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    claim = next_claim(asked(films_service))
    actions.work_dir_set(claim, str(work))
    collection = begun(work / "index-f1")
    own.kill()
    files.delete_files()
    assert (work / "index-f1").is_dir()
    assert "build 1, index-f1: the instance own" in Alert.objects.get().message
    own.start()
    files.delete_files()
    assert work.is_dir()
    assert not (work / "index-f1").exists()
    assert collection not in names_of("own")


def test_a_half_made_index_that_a_version_is_made_of_leaves_its_collection(films_service, folders, settings):
    """Which cannot be, unless a row has been mended by hand; the guard is the same for all that goes."""
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    claim = next_claim(asked(films_service))
    resolved(claim, "drop-1")
    actions.work_dir_set(claim, str(work))
    collection = begun(work / "index-f1")
    artifact = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v1-b1-f1"
    linked(work / "index-f1", artifact)
    completed(claim, artifact=str(artifact))
    files.delete_files()
    assert not (work / "index-f1").exists()
    assert collection in names_of()


def test_an_orphan_leaves_no_collection_unless_a_version_is_made_of_it(films_service, folders, settings, monkeypatch):
    monkeypatch.setattr(files, "ORPHAN_SECONDS", -1)
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    lost, good = built(work / "index-f1"), built(work / "index-f2")
    artifact = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v1-b1-f2"
    linked(work / "index-f2", artifact)
    activated(made_version(films_service, artifact=str(artifact)))
    files.delete_orphans()
    assert (work.exists(), artifact.is_dir()) == (False, True)
    assert names_of() & {lost, good} == {good}


def went_well(service, settings):
    """A build whose version is made of the same as its working folder: both, and their collection."""
    work = settings.RECALL_WORK / "films" / "movies" / "s1-build-1-f1"
    collection = built(work / "index-f1")
    claim = claimed(asked(service))
    resolved(claim, "drop-1")
    actions.work_dir_set(claim, str(work))
    artifact = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v1-b1-f1"
    linked(work / "index-f1", artifact)
    completed(claim, artifact=str(artifact))
    actions.build_succeed(claim)
    return work, artifact, collection


def test_a_disk_that_is_away_does_not_look_like_an_index_that_nobody_wants(films_service, folders, settings):
    work, artifact, collection = went_well(films_service, settings)
    away = settings.RECALL_ARTIFACTS.rename(settings.RECALL_ARTIFACTS.with_name("away"))
    files.delete_files()
    assert work.is_dir()
    assert collection in names_of()
    assert f"{artifact}, which may be made of the same, is not there." in Alert.objects.get().message
    away.rename(settings.RECALL_ARTIFACTS)
    files.delete_files()
    assert not work.exists()
    assert collection in names_of()


def test_a_file_that_a_tenant_delivered_names_no_collection(films_service, folders, settings):
    """A working folder holds drops under the names that tenants gave their files."""
    live = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v1-b1-f1"
    wanted = built(live / "index")
    work = settings.RECALL_WORK / "books" / "novels" / "s2-build-1-f1"
    for name in ("spool", "import", "index", "index-f1x"):
        (work / name).mkdir(parents=True)
    shutil.copy(live / "index" / REFERENCE_FILE, work / "spool" / REFERENCE_FILE)
    shutil.copy(live / "index" / REFERENCE_FILE, work / "index-f1x" / REFERENCE_FILE)
    assert outside.held_back([work], list) == {}
    assert wanted in names_of()


def test_a_removal_that_takes_too_long_is_given_up_for_this_time_and_alerted_when_it_was_so_several_times(
    films_service, folders, settings, monkeypatch, caplog
):
    settings.RECALL_HOME = folders / "home"
    _, path, collection = retired(films_service, settings)
    with monkeypatch.context() as hasty:
        hasty.setattr(outside, "SECONDS_MAX", 0.0)
        hasty.setattr(files, "UNHEARD_IN_A_ROW", 2)
        files.delete_files()
        assert f"{path} has to stay for now: It was not done within 0 s. It lies at lite." in caplog.text
        assert not Alert.objects.exists()
        files.delete_files()
        assert path.is_dir()
        assert (
            "version 1: It was not done within 0 s. It lies at lite. So 2 times in a row."
            in Alert.objects.get().message
        )
        assert collection in names_of()
    files.delete_files()
    assert not path.exists()
    assert Alert.objects.get().state == "RESOLVED"


def test_the_time_with_servers_counts_from_when_the_child_is_ready(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = outside._Limit()
    now = outside.START_SECONDS_MAX - 1
    limit.check()
    limit.begin()
    now += outside.SECONDS_MAX - 1
    limit.check()
    now += 2
    with pytest.raises(StepFailed, match="It was not done within 25 s"):
        limit.check()


def test_an_errand_that_another_worker_is_at_is_left_to_it(valkey):
    ran: list[str] = []

    def tick() -> None:
        ran.append("ran")
        outside.alone(tick)

    outside.alone(tick)
    assert ran == ["ran"]
    outside.alone(tick)
    assert ran == ["ran", "ran"]


def test_a_child_says_when_it_is_ready(films_service, folders, settings, monkeypatch):
    _, path, _ = retired(films_service, settings)
    heard: list[str] = []

    class Listening(outside._Limit):
        def begin(self) -> None:
            heard.append("ready")
            super().begin()

    monkeypatch.setattr(outside, "_Limit", Listening)
    files.delete_files()
    assert (path.exists(), heard) == (False, ["ready"])


def test_a_child_that_never_begins_is_given_up_and_says_what_is_too_slow(
    films_service, folders, settings, monkeypatch, caplog
):
    settings.RECALL_HOME = folders / "home"
    _, path, _ = retired(films_service, settings)
    monkeypatch.setattr(outside, "START_SECONDS_MAX", 0.0)
    files.delete_files()
    assert path.is_dir()
    assert "It had not begun within 0 s: the machine is too busy." in caplog.text
    assert not Alert.objects.exists()


def test_an_alert_of_a_silent_server_is_not_over_because_an_errand_was_not_done(
    films_service, folders, settings, own, monkeypatch
):
    settings.RECALL_HOME = folders / "home"
    retired(films_service, settings)
    own.kill()
    files.delete_files()
    monkeypatch.setattr(outside, "SECONDS_MAX", 0.0)
    files.delete_files()
    alert = Alert.objects.get()
    assert (alert.state, alert.count) == ("OPEN", 1)
    assert "the instance own" in alert.message


def test_no_process_is_started_where_all_that_goes_is_also_what_something_that_stays_is_made_of(
    films_service, folders, settings, monkeypatch
):
    """As after every build that went well: its version is made of the same."""
    monkeypatch.setattr(outside, "run_child", lambda *_args, **_more: pytest.fail("a process was started"))
    work, artifact, collection = went_well(films_service, settings)
    files.delete_files()
    assert (work.exists(), artifact.is_dir()) == (False, True)
    assert collection in names_of()


def test_what_cannot_be_read_is_asked_about_all_the_same(films_service, folders, settings, caplog):
    _, path, _ = retired(films_service, settings)
    (path / "index" / REFERENCE_FILE).write_text("{")
    files.delete_files()
    assert path.is_dir()
    assert f"{path} has to stay for now: {REFERENCE_FILE} does not say which collection" in caplog.text


def test_no_process_is_started_where_every_index_is_its_files(films_service, folders, settings, monkeypatch):
    monkeypatch.setattr(outside, "run_child", lambda *_args, **_more: pytest.fail("a process was started"))
    path = settings.RECALL_ARTIFACTS / "films" / "movies" / "s1-v1-b1-f1"
    (path / "index").mkdir(parents=True)
    version = made_version(films_service, loaded=False, artifact=str(path))
    Version.objects.filter(pk=version.pk).update(state="RETIRED")
    files.delete_files()
    assert not path.exists()


def test_a_worker_that_lives_long_imports_no_library_for_it(folders, settings):
    index = folders / "films" / "movies" / "s1-v1-b1-f1" / "index"
    built(index)
    code = (
        "import sys, django\n"
        "django.setup()\n"
        "from workers import outside, tasks\n"
        "from pathlib import Path\n"
        f"assert outside.held_back([Path({str(index.parent)!r})], lambda: []) == {{}}\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "workers.outside" in done.stdout.split()
    assert "pymilvus" not in done.stdout.split()
    assert read_reference(index).collection not in names_of()
