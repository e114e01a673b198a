"""A server of somebody else's in a process of its own, which tests kill, freeze and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS_MAX = 10.0
POLL_SECONDS = 0.05
LOG = "server.log"
LOG_END_CHARACTERS = 2_000
ROOT = Path(__file__).parents[2]


class ServerProcess(ABC):
    """Starts in `folder`, where its data stay over `kill` and `start`."""

    start_seconds_max = 60.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What keeps its process id is the server; it ends when this process does."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it is there for callers."""

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    @property
    def runs(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(self._command(), cwd=ROOT, env=self._environment(), stdout=log, stderr=log)
        until = time.monotonic() + self.start_seconds_max
        while not self._answers():
            assert self._process.poll() is None, f"the server has ended: {self.log_end()}"
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"the server does not answer after {self.start_seconds_max:g} s: {self.log_end()}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """As by `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """For good."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Its ports stay open and nothing answers: a signal is sent at once, and each thread heeds it in its time."""
        os.kill(self.pid, signal.SIGSTOP)
        until = time.monotonic() + STOP_SECONDS_MAX
        while not all(_is_stopped(thread) for thread in Path(f"/proc/{self.pid}/task").iterdir()):
            assert time.monotonic() < until, f"the server still runs {STOP_SECONDS_MAX:g} s after it was stopped"
            time.sleep(POLL_SECONDS)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log_end(self) -> str:
        return (self.folder / LOG).read_text(errors="replace")[-LOG_END_CHARACTERS:]

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _is_stopped(thread: Path) -> bool:
    """By the letter that follows the name in brackets, which may itself have brackets in it."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
