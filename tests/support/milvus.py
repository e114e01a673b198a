"""A server of Milvus's protocol in a process of its own: milvus-lite on loopback only, or a real Milvus.

python -m tests.support.milvus FOLDER PORT PARENT_PID
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support import real_milvus
from tests.support.real_milvus import RealMilvus
from tests.support.server_process import ServerProcess

HOST = "127.0.0.1"
# Which server tests ask: milvus-lite without it, `real` for a Milvus of their own, or the address of somebody else's.
WHICH = "RECALL_TEST_MILVUS"
REAL = "real"


def reserved_port() -> socket.socket:
    """A port of loopback that nobody else is given while the socket is open; a server may share it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((HOST, 0))
    return reserved


class MilvusLite(ServerProcess):
    """`uri` is known before the server starts, and stays the same over `kill` and `start`, as do its collections."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._reserved = reserved_port()
        self.port: int = self._reserved.getsockname()[1]
        self.uri = f"http://{HOST}:{self.port}"

    def stop(self) -> None:
        super().stop()
        self._reserved.close()

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.support.milvus", str(self.folder), str(self.port), str(os.getpid())]

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((HOST, self.port)) == 0


MilvusServer: TypeAlias = MilvusLite | RealMilvus


def milvus_server(folder: Path) -> MilvusServer:
    """Not started yet; of the kind that this run asks for."""
    return RealMilvus(folder) if is_real() else MilvusLite(folder)


def is_real() -> bool:
    return os.environ.get(WHICH) == REAL


def others_address() -> str:
    """Of a server that somebody else has started for the tests; empty when they have their own."""
    return "" if is_real() else os.environ.get(WHICH, "")


def lacks() -> str:
    """Why there is no such server here; empty when there is."""
    return real_milvus.lacks() if is_real() else ""


@contextmanager
def running_milvus() -> Iterator[MilvusServer]:
    """A server that is gone afterwards, with its folder. Skips, and says why, where there is none of the kind."""
    if lack := lacks():
        pytest.skip(lack)
    with tempfile.TemporaryDirectory(prefix="recall-milvus-") as folder:
        server = milvus_server(Path(folder))
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
