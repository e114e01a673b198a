"""The workers as they are started in production: Celery, beat, a real agent; only the launcher is missing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from celery import current_app
from django.conf import settings as django_settings

from catalog.actions import service_update
from common.dispatch import ring
from tests.factories import TESTER, make_service
from tests.support.history import asked, refreshed
from tests.support.nodes import running_node
from tests.support.source import write_drop
from tests.support.valkey import Valkey
from tests.workers import test_crashes
from tests.workers.test_crashes import _database_url
from versions.models import Build, SourceWatch
from workers.hearing import EXIT_DEAF

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

WORKER = ["workers.app", "worker", "--loglevel", "INFO"]
PROCESSES = {
    "control": [*WORKER, "-Q", "control", "-c", "1", "-n", "control@test"],
    "builds": [*WORKER, "-Q", "builds", "-c", "1", "-n", "builds@test"],
    "beat": ["workers.beat", "beat", "--pidfile=", "--loglevel", "WARNING"],
}


# Four processes start, each of which imports Django, and a build runs: some 15 s on an idle machine.
until = partial(test_crashes.until, seconds_max=150)
# A worker that has nothing to do ends within some 2 s of being asked to.
STOP_SECONDS_MAX = 25.0


@contextlib.contextmanager
def celery(folder: Path, valkey: Valkey, *names: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The processes of these names, all of them when none is given; each writes its log into `folder`."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "RECALL_HOME": str(folder / "home"),
        "RECALL_DATABASE_URL": _database_url(),
        "RECALL_REDIS_URL": valkey.url,
        "RECALL_DROPS": str(django_settings.RECALL_DROPS),
        "RECALL_WORK": str(django_settings.RECALL_WORK),
        "RECALL_ARTIFACTS": str(django_settings.RECALL_ARTIFACTS),
    }
    (folder / "home" / "run").mkdir(parents=True)
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in names or PROCESSES:
            with (folder / f"{name}.log").open("wb") as log:
                command = [sys.executable, "-m", "celery", "-A", *PROCESSES[name]]
                started[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield started
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait(60)


def test_a_build_that_is_asked_for_is_run_and_one_that_nobody_rang_for_too(
    films, folders, valkey, tmp_path, monkeypatch
):
    films_service = make_service(films, source={"uri": "file:movies/", "notice": "manual"})
    write_drop(films_service, "1")
    forgotten = asked(films_service)  # The broker of the tests takes no message.
    with running_node(tmp_path / "node", valkey), celery(tmp_path, valkey) as processes:
        until(lambda: Build.objects.get(pk=forgotten.pk).state == "SUCCEEDED", "the sweeper to ring")
        monkeypatch.setitem(current_app.conf, "broker_url", valkey.url)
        monkeypatch.setitem(current_app.conf, "broker_write_url", valkey.url)
        write_drop(films_service, "2", items=61)
        rung_for = asked(films_service)
        until(lambda: Build.objects.get(pk=rung_for.pk).state == "SUCCEEDED", "the doorbell to be heard")
        assert refreshed(films_service).live_version == 2
        service_update(actor=TESTER, service=films_service, spec={"source": {"notice": "marker"}})
        SourceWatch.objects.update(next_look_at="2020-01-01T00:00:00+00:00")
        write_drop(films_service, "3", items=62)
        until(lambda: refreshed(films_service).live_version == 3, "the drop to be noticed")

        pool = psutil.Process(processes["builds"].pid).children()
        assert pool
        processes["builds"].kill()
        until(lambda: not any(each.is_running() for each in pool), "the pool to die with its worker")
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    assert not any("Traceback" in text for text in logs.values()), logs


def test_a_worker_ends_soon_though_its_pool_has_not_begun_a_task_that_it_was_handed(
    films, valkey, tmp_path, monkeypatch
):
    """Celery forgets such a task, and the pool process waits for 30 s for its result to be read."""
    monkeypatch.setitem(current_app.conf, "broker_url", valkey.url)
    monkeypatch.setitem(current_app.conf, "broker_write_url", valkey.url)
    log = tmp_path / "control.log"
    with celery(tmp_path, valkey, "control") as processes:
        worker = processes["control"]
        until(lambda: "control@test ready." in log.read_text(), "the worker to be ready")
        [pool] = psutil.Process(worker.pid).children()
        pool.suspend()
        ring("routes.publish_tenant", films.pk)
        until(lambda: not valkey.client().exists("control") and valkey.client().exists("unacked"), "it to be taken")
        time.sleep(1)  # For the way from the worker's hands into those of its pool, of which nobody tells.
        worker.terminate()
        until(lambda: "Warm shutdown" in log.read_text(), "the worker to hear of it")
        time.sleep(1)  # And to forget what it has handed over.
        pool.resume()
        assert worker.wait(STOP_SECONDS_MAX) == 0
    assert "Traceback" not in log.read_text()


def test_a_worker_that_does_not_listen_any_more_ends_though_it_lives(films, valkey, tmp_path, monkeypatch):
    monkeypatch.setitem(current_app.conf, "broker_url", valkey.url)
    monkeypatch.setitem(current_app.conf, "broker_write_url", valkey.url)
    monkeypatch.setenv("RECALL_WORKER_DEAF_SECONDS", "5")
    log = tmp_path / "control.log"
    with celery(tmp_path, valkey, "control") as processes:
        worker = processes["control"]
        until(lambda: "control@test ready." in log.read_text(), "the worker to be ready")
        ring("routes.publish_tenant", films.pk)
        until(lambda: not valkey.client().exists("control"), "it to be taken")
        # Celery's own way to become deaf; the process goes on living, and nothing waits.
        current_app.control.cancel_consumer("control", destination=["control@test"])
        until(lambda: "Canceling queue control" in log.read_text(), "the consumer to be gone")
        time.sleep(8)
        assert worker.poll() is None
        pool = psutil.Process(worker.pid).children()
        ring("routes.publish_tenant", films.pk)
        assert worker.wait(STOP_SECONDS_MAX) == EXIT_DEAF
        until(lambda: not any(each.is_running() for each in pool), "the pool to end with it")
    assert "control: messages wait, and this worker takes none" in log.read_text()
