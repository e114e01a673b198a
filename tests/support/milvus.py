"""A real server of Milvus's protocol, milvus-lite, in a process of its own and on loopback only.

python -m tests.support.milvus FOLDER PORT PARENT_PID
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
POLL_SECONDS = 0.05
ROOT = Path(__file__).parents[2]


def reserved_port() -> socket.socket:
    """A port of loopback that nobody else is given while the socket is open; a server may share it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((HOST, 0))
    return reserved


class MilvusLite:
    """`uri` is known before the server starts, and stays the same over `kill` and `start`, as do its collections."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reserved = reserved_port()
        self.port: int = self._reserved.getsockname()[1]
        self.uri = f"http://{HOST}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.support.milvus", str(self._folder), str(self.port), str(os.getpid())]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if time.monotonic() > until:
                self.kill()
                raise AssertionError(f"the server does not answer after {START_SECONDS_MAX:g} s")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """As by `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        self._reserved.close()

    def freeze(self) -> None:
        """The port stays open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2_000:]
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((HOST, self.port)) == 0

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


@contextmanager
def running_milvus() -> Iterator[MilvusLite]:
    """A server that is gone afterwards, with its folder."""
    with tempfile.TemporaryDirectory(prefix="recall-milvus-") as folder:
        server = MilvusLite(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def main() -> None:
    from engines.leash import die_with_parent

    folder, port, parent_pid = sys.argv[1:]
    die_with_parent(int(parent_pid))
    # It speaks by the client's own library, which needs these preparations first.
    import_module("engines.milvus.library")
    # Its own default is to listen on every address.
    from milvus_lite.adapter.grpc.server import run_server

    # One request at a time: it keeps a search's effort on the index, where another search at the same time finds it.
    run_server(folder, host=HOST, port=int(port), max_workers=1)


if __name__ == "__main__":
    main()
