"""One process of the platform: started, watched, started again when it dies, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.launcher.state import ProcessState
from engines.leash import let_session_give_way
from replicas.identity import start_ticks
from replicas.logs import cap_log

RESTART_SECONDS_MIN = 0.2
RESTART_SECONDS_MAX = 10.0
# Who lived so long is restarted without delay when it dies the next time.
STEADY_SECONDS = 30.0
POLL_SECONDS = 0.05
TAIL_LINES = 12
TAIL_BYTES_MAX = 16_384


@dataclass(frozen=True)
class Plan:
    """How one child is run. `stage`: lower ones start earlier and stop later.

    `ready` says whether the child of this pid does its work by now; it may block for a second.
    `outlived`: processes that it started go on without it (an agent's replicas). `needs_tables`: it reads the database.
    `nice`: how much it gives way to others, 0 to 19.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[int], bool]
    stage: int = 1
    outlived: bool = False
    needs_tables: bool = True
    nice: int = 0


class Child:
    """The process of one plan."""

    def __init__(self, plan: Plan, environment: Mapping[str, str], log: Path, log_bytes_max: int) -> None:
        self.plan = plan
        self.state = ProcessState(log=str(log))
        self._environment = environment
        self._log = log
        self._log_bytes_max = log_bytes_max
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_seconds = RESTART_SECONDS_MIN
        self._start_again_at = 0.0

    def start(self) -> None:
        """In a session of its own: Ctrl-C reaches the launcher alone, which then stops all in order."""
        cap_log(self._log, self._log_bytes_max)
        with os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
            self._process = subprocess.Popen(
                self.plan.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )
        self._give_way(self._process.pid)
        self._started_at = time.monotonic()
        self.state.pid = self._process.pid
        self.state.started_ticks = start_ticks(self._process.pid) or 0
        self.state.state = "starting"

    def _give_way(self, pid: int) -> None:
        """It does so from its first moment: what it starts inherits that."""
        if self.plan.nice:
            with contextlib.suppress(ProcessLookupError):  # It has died already, which `keep` will see.
                os.setpriority(os.PRIO_PROCESS, pid, self.plan.nice)
            let_session_give_way(pid, self.plan.nice)

    def keep(self) -> bool:
        """Starts the child again when it has died and its pause is over; returns whether its state changed."""
        if self.state.state == "waiting":
            if time.monotonic() < self._start_again_at:
                return False
            self.state.restarts += 1
            self.start()
            self.state.state = "running"
            return True
        return self._bury()

    def _bury(self) -> bool:
        if self._process is None or not self._has_died(self._process.pid):
            return False
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._pause_seconds = RESTART_SECONDS_MIN
        self._start_again_at = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(RESTART_SECONDS_MAX, 2 * self._pause_seconds)
        self._reap()
        self.state.state = "waiting"
        return True

    def is_ready(self) -> bool:
        return self.state.alive() and self.plan.ready(self.state.pid)

    def ask_to_stop(self) -> None:
        if self._process is not None and self.state.alive():
            self._process.send_signal(signal.SIGTERM)

    def await_stop(self, seconds_max: float) -> None:
        """Waits; what is still there then is killed with all that it started."""
        until = time.monotonic() + seconds_max
        while self._process is not None and not self._has_died(self._process.pid):
            if time.monotonic() > until:
                self._kill()
            time.sleep(POLL_SECONDS)
        self._reap()
        self.state.state = "stopped"

    def log_tail(self) -> str:
        """The last lines of its log, for people."""
        return tail(self._log)

    def _has_died(self, pid: int) -> bool:
        # It is not reaped yet, so its pid and its group's number cannot be somebody else's.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill(self) -> None:
        if self._process is None:
            return
        if self.plan.outlived:
            self._process.kill()
        else:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        if self._process is None:
            return
        if not self.plan.outlived:
            # A worker's pool or a server's workers may still be there; the next one must not meet them.
            kill_group(self._process.pid)
        self._process.wait()
        self._process = None


def kill_group(group: int) -> None:
    """Kills every process of the group that is left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def tail(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES_MAX))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
