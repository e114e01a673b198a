"""The workers as they are started in production: Celery, beat, a real agent; only the launcher is missing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from celery import current_app
from django.conf import settings as django_settings

from catalog.actions import service_update
from tests.factories import TESTER, make_service
from tests.support.history import asked, refreshed
from tests.support.nodes import running_node
from tests.support.source import write_drop
from tests.support.valkey import Valkey
from tests.workers.test_crashes import _database_url, until
from versions.models import Build, SourceWatch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

WORKER = ["worker", "--loglevel", "INFO"]
PROCESSES = {
    "control": [*WORKER, "-Q", "control", "-c", "1", "-n", "control@test"],
    "builds": [*WORKER, "-Q", "builds", "-c", "1", "-n", "builds@test"],
    "beat": ["beat", "--pidfile=", "--loglevel", "WARNING"],
}


@contextlib.contextmanager
def celery(folder: Path, valkey: Valkey) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
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
        for name, arguments in PROCESSES.items():
            with (folder / f"{name}.log").open("wb") as log:
                command = [sys.executable, "-m", "celery", "-A", "workers.app", *arguments]
                started[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield started
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait(30)


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
