"""A whole platform for a test: exactly what `recall up` starts, in a RECALL_HOME and on ports of its own."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

UP_SECONDS_MAX = 180
COMMAND_SECONDS_MAX = 120
API_SECONDS_MAX = 30
POLL_SECONDS = 0.05
# Slower where each look is a REST call, which takes CPU from what is measured.
BUILD_POLL_SECONDS = 0.5

# A line for each look at a build would bury what a test has to say.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Platform:
    """`home`, `console_url`, `gateway`; `run` for the CLI, `api` for REST, `pid` for things to kill."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.console_port, self.gateway_port = free_port(), free_port()
        self.console_url = f"http://127.0.0.1:{self.console_port}"
        self.gateway = f"127.0.0.1:{self.gateway_port}"
        # A client for each call would make a TLS context for each, which holds this process, with the load that it may
        # run, for 50 ms. Connections are new ones, because consoles come and go.
        self._http = httpx.Client(timeout=API_SECONDS_MAX, limits=httpx.Limits(max_keepalive_connections=0))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RECALL_", "DJANGO_"))}
        self.environment = {
            **inherited,
            "RECALL_HOME": str(home),
            "RECALL_CONSOLE_PORT": str(self.console_port),
            "RECALL_GATEWAY_PORT": str(self.gateway_port),
            "RECALL_API_URL": self.console_url,
            "RECALL_GATEWAY": self.gateway,
            "HOME": str(home),
            **environment,
        }

    def up(self) -> None:
        self.run("up", "--detach", timeout=UP_SECONDS_MAX)

    def down(self) -> None:
        self.run("down", timeout=UP_SECONDS_MAX)

    def run(self, *arguments: str, timeout: float = COMMAND_SECONDS_MAX) -> str:
        """Runs `recall ...`; returns stdout, fails the test with both streams when it fails."""
        recall = Path(sys.executable).with_name("recall")
        done = subprocess.run(
            [str(recall), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, (
            f"recall {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def as_owner(self, tenant: str) -> None:
        """Makes a tenant and a manage key for it; from then on `run` and `api` act with that key."""
        self.run("tenant", "create", tenant)
        made = json.loads(self.run("key", "create", "--tenant", tenant, "--scope", "manage", "--json"))
        self.tenant, self.key = tenant, made["key"]
        self.environment["RECALL_API_KEY"] = self.key

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Calls /api/v1/tenants/{tenant}{path}; the answer must be a success."""
        url = f"{self.console_url}/api/v1/tenants/{self.tenant}{path}"
        headers = {"Authorization": f"Bearer {self.key}"}
        response = self._http.request(method, url, json=body, headers=headers)
        assert response.is_success, f"{method} {url}: {response.status_code} {response.text}"
        return response.json() if response.content else {}

    def source(self, service: str) -> Path:
        """Where drops of `service` go when its source is `file:<service>/`."""
        return self.home / "drops" / self.tenant / service

    def build(self, service: str, *, seconds_max: float = 180) -> dict[str, Any]:
        """Asks for a build and waits for its end; it must succeed."""
        number = self.api("POST", f"/services/{service}:build", {})["number"]
        return self.wait_for_build(service, number, seconds_max=seconds_max)

    def wait_for_build(self, service: str, number: int, *, seconds_max: float = 180) -> dict[str, Any]:
        build: dict[str, Any] = {}

        def ended() -> bool:
            nonlocal build
            build = self.api("GET", f"/services/{service}/builds/{number}")
            return build["state"] not in ("PENDING", "RUNNING")

        eventually(
            ended,
            seconds_max=seconds_max,
            what=lambda: f"build {number} to end: {build}",
            every_seconds=BUILD_POLL_SECONDS,
        )
        assert build["state"] == "SUCCEEDED", build
        return build

    def process(self, name: str) -> int:
        """The pid of the launcher's child `name`."""
        state = json.loads((self.home / "run" / "launcher.json").read_text())
        return int(state["processes"][name]["pid"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(
    true: Callable[[], bool], *, seconds_max: float, what: str | Callable[[], str], every_seconds: float = POLL_SECONDS
) -> float:
    """Waits until `true()`; returns the seconds it took, fails the test after `seconds_max`."""
    begin = time.monotonic()
    while not true():
        waited = time.monotonic() - begin
        assert waited < seconds_max, f"waited {waited:.0f} s for {what() if callable(what) else what}"
        time.sleep(every_seconds)
    return time.monotonic() - begin
