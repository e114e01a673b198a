"""Where gateway processes run, and the parent of several that share one port, which restarts what dies.

Nothing here imports grpc: workers are started afresh, never forked from a process that has.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Literal

import structlog

from gateway.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

CHECK_SECONDS = 0.2
RESTART_PAUSE_SECONDS = 1.0
STOP_SECONDS_EXTRA = 5.0
# On more cores a hand-over finds an idle one nearby, and what a core of its own is worth there was not measured.
PIN_CORES_MAX = 4
PR_SET_PDEATHSIG = 1
# A worker that ends so at once cannot be helped by a restart.
EXIT_SETTINGS = 2


def supervise(settings: Settings) -> int:
    """Runs the workers until SIGTERM or SIGINT; returns the exit code."""
    if settings.gateway_port == 0:
        raise SettingsError("several workers share one port: set RECALL_GATEWAY_PORT to a number above 0")
    parent = _Parent(settings)
    signal.signal(signal.SIGTERM, parent.stop)
    signal.signal(signal.SIGINT, parent.stop)
    return parent.run()


def core_of(worker: int, cores: Sequence[int]) -> int:
    """The core for a worker, of those that this process may use, in turns.

    From the front, because builds run on the last of them (engines/leash.py) and leave the first to what serves.
    """
    return cores[worker % len(cores)]


def keep_to_a_core(worker: int, pinned: bool | Literal["auto"]) -> None:
    """Pin this process as the setting says; a system that forbids it gets a warning and an unpinned gateway."""
    cores = sorted(os.sched_getaffinity(0))
    if not pinned or (pinned == "auto" and len(cores) > PIN_CORES_MAX):
        return
    try:
        pin(core_of(worker, cores))
    except OSError as error:
        log.warning("gateway.not_pinned", worker=worker, error=str(error))


def pin(core: int) -> None:
    """Keep this process, and the threads that it is going to start, to one core. Raises OSError.

    grpc hands every call from thread to thread, and across cores each hand-over wakes a sleeping core: with 256 callers
    on 2 cores it cost a fifth of the throughput of the whole platform (docs/adr/0009).
    """
    os.sched_setaffinity(0, {core})


class _Parent:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._exit_code = 0

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def run(self) -> int:
        while not self._stopping:
            for worker in range(self._settings.gateway_workers):
                self._keep(worker)
            time.sleep(CHECK_SECONDS)
        self._stop_workers()
        return self._exit_code

    def _keep(self, worker: int) -> None:
        process = self._workers.get(worker)
        if process is None or process.poll() is not None:
            if process is not None:
                self._mourn(worker, process.returncode)
            if not self._stopping:
                self._workers[worker] = _spawn(worker)

    def _mourn(self, worker: int, exit_code: int) -> None:
        log.error("gateway.worker_ended", worker=worker, exit_code=exit_code)
        if exit_code == EXIT_SETTINGS:
            self._exit_code = exit_code
            self._stopping = True
        else:
            time.sleep(RESTART_PAUSE_SECONDS)

    def _stop_workers(self) -> None:
        for process in self._workers.values():
            process.terminate()
        until = time.monotonic() + self._settings.gateway_drain_seconds + STOP_SECONDS_EXTRA
        for process in self._workers.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _spawn(worker: int) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)
    parent_pid = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:
            os._exit(1)

    command = [sys.executable, "-m", "gateway", "--worker", str(worker)]
    return subprocess.Popen(command, preexec_fn=die_with_parent)
