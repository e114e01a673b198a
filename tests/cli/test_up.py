"""`recall up`, `status`, `down` and `demo` as processes: what they start, what they survive, what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from replicas.settings import NodeSettings
from tests.e2e.platform import Platform, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.servers, pytest.mark.timeout(600)]

PROCESSES = {"valkey", "console", "worker-control", "worker-builds", "worker-health", "beat", "agent", "gateway"}
DEMO_SECONDS_MAX = 300
RETURN_SECONDS_MAX = 30
# Of the gateway, while a launcher takes over.
ABSENCE_SECONDS_MAX = 5.0


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with tempfile.TemporaryDirectory(prefix="recall-up-") as folder:
        platform = Platform(Path(folder))
        platform.up()
        try:
            yield platform
        finally:
            if status(platform)["state"] != "stopped":
                platform.down()
            assert processes_of(platform) == []


class Absences:
    """Connects to a port again and again; how often nobody listened there, and for how long at most."""

    def __init__(self, port: int) -> None:
        self.count, self.longest_seconds = 0, 0.0
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Absences:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        absent_since: float | None = None
        while not self._ended.wait(0.02):
            now = time.monotonic()
            if not self._listens():
                absent_since = absent_since or now
                self.longest_seconds = max(self.longest_seconds, now - absent_since)
            elif absent_since:
                self.count, absent_since = self.count + 1, None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def recall(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("recall")
    return subprocess.run(
        [str(program), *arguments],
        env=platform.environment,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS_MAX,
        check=False,
    )


def status(platform: Platform) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(recall(platform, "status", "--json").stdout)
    return found


def processes_of(platform: Platform) -> list[str]:
    """Command lines of living processes that were started with this RECALL_HOME."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            ours = process.environ().get("RECALL_HOME") == str(platform.home)
            if ours and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # It ended meanwhile, or is somebody else's.
    return found


def test_everything_that_it_names_runs_and_listens_on_loopback_only(platform: Platform) -> None:
    found = status(platform)

    assert found["state"] == "ready"
    assert set(found["platform"]["processes"]) == PROCESSES
    assert {process["state"] for process in found["platform"]["processes"].values()} == {"running"}
    pids = {process["pid"] for process in found["platform"]["processes"].values()}
    family = [psutil.Process(pid) for pid in pids]
    family += [child for parent in family for child in parent.children(recursive=True)]
    listening = {
        one.laddr for process in family for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN
    }
    # gRPC binds IPv4 addresses by their IPv6 names.
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert {platform.console_port, platform.gateway_port} <= {address.port for address in listening}


def test_no_process_shows_a_secret_on_its_command_line(platform: Platform) -> None:
    secrets = [path.read_text().strip() for path in (platform.home / "secrets").iterdir()]
    assert len(secrets) >= 4
    assert not [line for line in processes_of(platform) if any(secret in line for secret in secrets)]


def test_a_second_launcher_is_refused_and_told_who_runs(platform: Platform) -> None:
    launcher = status(platform)["platform"]["pid"]
    for arguments in (["up"], ["up", "--detach"]):
        done = recall(platform, *arguments)
        assert done.returncode == 1
        assert f"already run by process {launcher}" in done.stderr.splitlines()[-1]
    assert status(platform)["state"] == "ready"


def test_another_platform_cannot_take_its_ports(platform: Platform) -> None:
    with tempfile.TemporaryDirectory(prefix="recall-other-") as folder:
        other = Platform(Path(folder), RECALL_GATEWAY_PORT=str(platform.gateway_port))
        done = recall(other, "up", "--detach")
        assert done.returncode == 1
        assert f"127.0.0.1:{platform.gateway_port} cannot be used" in done.stderr
        assert processes_of(other) == []


def test_a_killed_process_is_back_by_itself(platform: Platform) -> None:
    before = platform.process("beat")
    os.kill(before, signal.SIGKILL)
    eventually(
        lambda: platform.process("beat") != before, seconds_max=RETURN_SECONDS_MAX, what="beat to be started again"
    )
    assert status(platform)["platform"]["processes"]["beat"]["restarts"] == 1


def is_running(pid: int) -> bool:
    """What has ended and only waits for the system's first process to take note is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_after_a_kill_of_the_launcher_the_next_one_starts_all_anew_and_what_serves_last(platform: Platform) -> None:
    before = status(platform)["platform"]
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: status(platform)["state"] == "leftovers", seconds_max=10, what="the launcher to be gone")

    with Absences(platform.gateway_port) as gateway:
        done = recall(platform, "up", "--detach")

    assert done.returncode == 0, done.stderr
    assert "stopped what an earlier launcher left" in done.stderr
    assert "goes on serving meanwhile: gateway" in done.stderr
    assert gateway.longest_seconds < ABSENCE_SECONDS_MAX
    assert gateway.count == 1
    after = status(platform)["platform"]
    old = {process["pid"] for process in before["processes"].values()}
    assert not old & {process["pid"] for process in after["processes"].values()}
    assert not [pid for pid in old if is_running(pid)]


def test_down_leaves_nothing_behind_not_even_after_a_kill_of_the_launcher(platform: Platform) -> None:
    os.kill(status(platform)["platform"]["pid"], signal.SIGKILL)
    time.sleep(0.2)
    assert recall(platform, "down").returncode == 0
    assert processes_of(platform) == []
    assert recall(platform, "status").returncode == 3
    assert recall(platform, "down").returncode == 3


def test_the_demo_tells_its_story_prints_one_line_and_stops_all_again() -> None:
    with tempfile.TemporaryDirectory(prefix="recall-demo-") as folder:
        platform = Platform(Path(folder))
        done = recall(platform, "demo", "--once", "--json")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        told = json.loads(done.stdout)
        assert (told["service"], told["version"], told["items"]) == ("tenants/demo/services/fashion", 1, 10_000)
        assert told["recall_at_10"] >= 0.95
        assert 0 < told["seconds_to_first_answer"] <= 60
        assert told["api_key"].startswith("rk_")
        assert (told["console_url"], told["gateway"]) == (platform.console_url, platform.gateway)
        assert "0 failed calls" in done.stderr
        assert "Go on" not in done.stderr, "an address where nothing answers any more helps nobody"
        assert done.stderr.rstrip().endswith("is stopped again. To keep it running and look around: make demo")
        assert processes_of(platform) == []
        assert not list(NodeSettings(home=Path(folder)).run_dir.glob("*.lock"))
        for name in ("demo_password", "demo_key"):
            assert (Path(folder) / "secrets" / name).stat().st_mode & 0o777 == 0o600
