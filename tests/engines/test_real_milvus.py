"""A server that listens on every address is started where there is no other address than its own loopback."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import own_network, real_milvus
from tests.support.real_milvus import RealMilvus

pytestmark = pytest.mark.servers

SHOW = (
    "import os, socket; from tests.support import own_network; "
    "listening = socket.create_server(('127.0.0.1', 0)); socket.create_connection(listening.getsockname());"
    "print(os.getuid(), os.getgid(), own_network.others())"
)


def in_own_network(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.own_network", *command],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_command_is_who_it_was_in_a_network_of_its_own_with_a_loopback() -> None:
    done = in_own_network(sys.executable, "-c", SHOW)
    if done.returncode == own_network.REFUSED:
        pytest.skip(done.stderr.strip())
    assert done.stdout == f"{os.getuid()} {os.getgid()} []\n", done.stderr
    assert in_own_network("false").returncode == 1


@pytest.mark.parametrize(("user", "remedy"), [(0, "CAP_SYS_ADMIN"), (1_000, "max_user_namespaces")])
def test_where_there_can_be_none_it_says_why_and_runs_nothing(
    user: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def unshare(self, flags: int) -> int:
            ctypes.set_errno(errno.EPERM)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
    monkeypatch.setattr(os, "getuid", lambda: user)
    monkeypatch.setattr(sys, "argv", ["own_network", "true"])
    monkeypatch.setattr(os, "execvp", lambda *_: pytest.fail("it ran the command"))
    with pytest.raises(own_network.NoOwnNetwork, match=remedy):
        own_network.enter()
    with pytest.raises(SystemExit) as ended:
        own_network.main()
    assert ended.value.code == own_network.REFUSED


def test_it_does_not_start_where_somebody_else_could_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_network, "others", lambda: ["eth0"])
    server = RealMilvus(tmp_path)
    with pytest.raises(AssertionError, match=r"eth0.*make test-milvus"):
        server.start()
    assert not server.runs
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_there_is_no_server_for_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_milvus.platform, "machine", lambda: "aarch64")
    assert "Linux on x86_64" in real_milvus.lacks()
