"""Worker processes that run one build each and may be told to die on the way; forked, so that they start at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from versions.models import Build

# A build that waits, for a node on a busy machine, frees its worker and is taken up by another so often.
RINGS_MAX = 20
# What the tests have set otherwise than the workers' own environment says.
TOLD = ("REDIS_URL", "RECALL_DROPS", "RECALL_WORK", "RECALL_ARTIFACTS", "BUILD_THREADS")


@dataclass
class Worker:
    """One process. Its words stand in the log of the pool, from `log_start` on."""

    pool: Workers
    pid: int
    log_start: int

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        return self.pool.wait(self.pid)

    @property
    def log(self) -> str:
        """What was said since it was started, also by others that ran beside it."""
        return self.pool.log_path.read_bytes()[self.log_start :].decode(errors="replace")


class Workers:
    """`start` forks a worker for a build. It begins with no connection of its own and the test's settings."""

    def __init__(self, folder: Path) -> None:
        self.log_path = folder / "workers.log"
        self._statuses: dict[int, int] = {}
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "RECALL_DATABASE_URL": database_url(),
            "RECALL_DEBUG": "True",
            # Whatever a command line in this process has set.
            "RECALL_LOG_LEVEL": "INFO",
        }
        with self.log_path.open("wb") as log:
            self._pool = subprocess.Popen(
                [sys.executable, "-m", "tests.workers.forked_worker"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def start(self, build: Build, failpoints: str = "") -> Worker:
        told: Mapping[str, Any] = {name: getattr(settings, name) for name in TOLD}
        order = {"build": build.pk, "environment": {"RECALL_FAILPOINTS": failpoints}, "settings": told}
        log_start = self.log_path.stat().st_size
        assert self._pool.stdin is not None
        self._pool.stdin.write(json.dumps(order, default=str).encode() + b"\n")
        self._pool.stdin.flush()
        # Others may end meanwhile; theirs are the lines with a status.
        while "status" in (line := self._read()):
            self._statuses[line["pid"]] = line["status"]
        return Worker(self, line["pid"], log_start)

    def killed_at(self, build: Build, failpoint: str) -> bool:
        """Runs the build until its worker dies at `failpoint`; False when it ends, or is held, before."""
        for _ in range(RINGS_MAX):
            Build.objects.filter(pk=build.pk, wake_at__isnull=False).update(wake_at="2020-01-01T00:00:00+00:00")
            worker = self.start(build, f"{failpoint}=kill")
            if worker.wait() == -signal.SIGKILL:
                return f"failpoint {failpoint}: kill" in worker.log
            if not Build.objects.filter(pk=build.pk, wake_at__isnull=False).exists():
                return False
        return False

    def wait(self, pid: int) -> int:
        while pid not in self._statuses:
            line = self._read()
            self._statuses[line["pid"]] = line["status"]
        return self._statuses[pid]

    def stop(self) -> None:
        assert self._pool.stdin is not None
        self._pool.stdin.close()
        self._pool.wait(10)

    def _read(self) -> dict[str, int]:
        assert self._pool.stdout is not None
        line = self._pool.stdout.readline()
        assert line, self.log_path.read_text()
        said: dict[str, int] = json.loads(line)
        return said


@contextlib.contextmanager
def forked_workers(folder: Path) -> Iterator[Workers]:
    workers = Workers(folder)
    try:
        yield workers
    finally:
        workers.stop()


def database_url() -> str:
    """The tests' own database, for a process of its own."""
    made = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite://{made['NAME']}"
    return f"postgresql://{made['USER']}:{made['PASSWORD']}@/{made['NAME']}?host={made['HOST']}"
