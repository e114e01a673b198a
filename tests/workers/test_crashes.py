"""Workers that die, stall, or lose their build: exactly one goes on, and nothing is published twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import InterfaceError, OperationalError, connection

from catalog.models import Service
from tests.factories import TESTER, make_service
from tests.support.children import index_builders
from tests.support.history import asked, expired, refreshed
from tests.support.source import write_drop
from tests.support.valkey import Valkey
from tests.workers.conftest import finish, published
from versions import actions, selectors
from versions.models import Build
from workers import pipeline

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

WAIT_SECONDS_MAX = 60.0


@pytest.fixture
def slow_service(films) -> Service:
    """Its index takes some seconds to build."""
    engine = {"name": "hnsw", "params": {"M": 48, "ef_construction": 500}}
    return make_service(films, engine=engine, search={"at": 10}, guards={"min_recall": 0})


@pytest.fixture
def worker(folders: Path, valkey: Valkey, settings) -> Iterator[Callable[[Build], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "RECALL_DATABASE_URL": _database_url(),
        "RECALL_REDIS_URL": valkey.url,
        "RECALL_DROPS": str(settings.RECALL_DROPS),
        "RECALL_WORK": str(settings.RECALL_WORK),
        "RECALL_ARTIFACTS": str(settings.RECALL_ARTIFACTS),
        "RECALL_BUILD_THREADS": "1",
    }

    def start(build: Build) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.workers.run_build", str(build.pk)]
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.servers
def test_a_build_whose_worker_is_killed_in_the_middle_of_the_index_is_finished_by_another(slow_service, worker, node):
    write_drop(slow_service, "1", items=10_000)
    build = asked(slow_service)
    process = worker(build)
    child = child_that_builds(process.pid)

    process.kill()
    until(lambda: not child.is_running(), "the child to die with its worker")
    work_dir, imported_at = Build.objects.get(pk=build.pk).work_dir, ended_at(build, "import_items")
    assert actions.build_claim(build.pk, owner="too early") is None
    expired(build)
    build = finish(build)

    assert (build.state, build.crashes, build.fence >= 2) == ("SUCCEEDED", 0, True)
    assert (build.work_dir, ended_at(build, "import_items")) == (work_dir, imported_at)
    assert refreshed(slow_service).live_version == 1
    assert [version.number for version in selectors.versions_of(slow_service)] == [1]


@pytest.mark.servers
def test_a_worker_that_stalls_and_wakes_finds_another_has_finished(slow_service, worker, node, settings):
    write_drop(slow_service, "1", items=10_000)
    build = asked(slow_service)
    process = worker(build)
    child = child_that_builds(process.pid)

    process.send_signal(signal.SIGSTOP)
    expired(build)
    build = finish(build)
    process.send_signal(signal.SIGCONT)

    assert process.wait(WAIT_SECONDS_MAX) == 0
    until(lambda: not child.is_running(), "the child to die with its worker")
    assert build.state == "SUCCEEDED"
    version = selectors.versions_of(slow_service).get()
    assert (version.state, Path(version.artifact).is_dir()) == ("READY", True)
    assert os.listdir(Path(version.artifact).parent) == [Path(version.artifact).name]


def test_of_two_workers_at_once_one_runs_the_build(films_service, node):
    build = published(films_service)
    threads = [threading.Thread(target=run_in_thread, args=(build.pk,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    build = finish(build)
    assert build.state == "SUCCEEDED"
    assert node.executed == ["v1-warm-1", "v1-check"]
    assert selectors.activations_of(films_service).count() == 1


@pytest.mark.servers
def test_a_cancel_ends_a_running_child_within_seconds(slow_service, worker):
    write_drop(slow_service, "1", items=10_000)
    build = asked(slow_service)
    process = worker(build)
    child = child_that_builds(process.pid)
    actions.build_cancel(actor=TESTER, build=build)
    assert process.wait(WAIT_SECONDS_MAX) == 0
    build.refresh_from_db()
    assert (build.state, build.error_message, child.is_running()) == ("CANCELLED", "Cancelled by tests.", False)
    assert build.steps.get(name="build_index").state == "CANCELLED"
    assert selectors.version_get(slow_service, 1).state == "FAILED"


def test_a_build_that_kills_every_worker_is_given_up(films_service, valkey):
    build = asked(films_service)
    for _ in range(pipeline.CRASHES_MAX + 1):
        assert actions.build_claim(build.pk, owner="doomed") is not None
        expired(build)
    build = finish(build)
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "platform.worker_died", "platform")


@pytest.mark.servers
def test_a_build_whose_files_are_lost_begins_again_where_they_are_needed(films_service, build_of, node):
    node.load_error = "not now"
    build = build_of(films_service, "20260101")
    assert build.error_reason == "replica.load_failed"
    imported_at, resolved_at = ended_at(build, "import_items"), ended_at(build, "resolve_drop")
    for path in Path(build.work_dir).rglob("*.npy"):
        path.unlink()
    node.load_error = ""
    build = finish(actions.build_retry(actor=TESTER, build=build))
    assert build.state == "SUCCEEDED"
    assert ended_at(build, "import_items") > imported_at
    assert ended_at(build, "resolve_drop") == resolved_at


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_when_the_database_is_in_trouble_the_build_waits_for_its_lease_to_end(films_service, node, caplog, error):
    build = published(films_service)

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and "versions_buildstep" in sql:
            raise error("the disk is gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        pipeline.run(build.pk)
    build.refresh_from_db()
    assert (build.state, build.error_reason, "the disk is gone" in caplog.text) == ("RUNNING", "", True)
    expired(build)
    assert finish(build).state == "SUCCEEDED"


def child_that_builds(worker: int) -> psutil.Process:
    """The child of this worker that builds an index, once it is at work."""

    def look() -> psutil.Process | None:
        at_work = index_builders(psutil.Process(worker))
        done = Build.objects.filter(steps__name="build_index", steps__progress__gt=0).exists()
        return at_work[0] if at_work and done else None

    return until(look, "the index to be under way")


def until(what: Callable[[], Any], name: str, seconds_max: float = WAIT_SECONDS_MAX) -> Any:
    give_up_at = time.monotonic() + seconds_max
    while time.monotonic() < give_up_at:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds_max:g} s for {name}")


def run_in_thread(build_id: int) -> None:
    try:
        pipeline.run(build_id)
    finally:
        connection.close()


def ended_at(build: Build, step: str) -> Any:
    return build.steps.get(name=step).ended_at


def _database_url() -> str:
    """The tests' own database, for a process of its own."""
    made = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite://{made['NAME']}"
    return f"postgresql://{made['USER']}:{made['PASSWORD']}@/{made['NAME']}?host={made['HOST']}"
