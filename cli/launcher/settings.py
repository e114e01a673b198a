"""What the launcher reads from RECALL_* in the environment, and where it keeps its files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pydantic import Field

from cli.errors import CliError
from engines import settings as engine_settings
from replicas.settings import MIB, NodeSettings

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what to call when the user chose to bind it)


class LauncherSettings(NodeSettings):
    """`home`, `node` and `run_dir` are those of the data plane; a port of 0 means a free one."""

    bind: str = "127.0.0.1"
    console_port: int = Field(default=8000, ge=0, le=65535)
    gateway_port: int = Field(default=50051, ge=0, le=65535)
    # Where the gateway finds the console; empty: the port above.
    console_url: str = ""
    # Empty: the launcher runs a Valkey server of its own.
    redis_url: str = ""
    console_threads: int = Field(default=8, ge=1, le=256)
    # Two, so that one long build does not keep every other one waiting.
    builds_at_once: int = Field(default=2, ge=1, le=64)

    start_seconds_max: float = Field(default=90.0, gt=0)
    stop_seconds_max: float = Field(default=15.0, gt=0)
    log_bytes_max: int = Field(default=16 * MIB, ge=4096)

    @property
    def run(self) -> Path:
        """The launcher's own files. `run_dir` is the short folder for sockets."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def secrets(self) -> Path:
        return self.home / "secrets"

    @property
    def state_file(self) -> Path:
        return self.run / "launcher.json"

    @property
    def redis_url_file(self) -> Path:
        return self.run / "redis.url"

    @property
    def host(self) -> str:
        """The address to call what is bound to `bind`."""
        return ANY_ADDRESS.get(self.bind, self.bind)

    def console_address(self) -> str:
        return self.console_url or f"http://{self.host}:{self.console_port}"

    def gateway_address(self) -> str:
        return f"{self.host}:{self.gateway_port}"

    def with_free_ports(self, held: int | None = None) -> LauncherSettings:
        """Settings whose ports are certain: each given one was free just now, each 0 became a free one.

        `held` is the port of a gateway of ours that is about to give it up. Raises CliError for a port that is taken.
        """
        chosen = {"console_port": _claim(self.bind, self.console_port, "console_port")}
        if self.gateway_port != held:
            chosen["gateway_port"] = _claim(self.bind, self.gateway_port, "gateway_port")
        return self.model_copy(update=chosen)

    def gateway_port_is_free(self) -> bool:
        try:
            _claim(self.bind, self.gateway_port, "gateway_port")
        except CliError:
            return False
        return True

    def make_folders(self) -> None:
        for folder in (self.home, self.run, self.logs, self.secrets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def read_settings() -> LauncherSettings:
    """Settings from the environment. Raises CliError that names the variable."""
    from pydantic import ValidationError

    try:
        return LauncherSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "RECALL_" + "_".join(str(part) for part in first["loc"]).upper()
        raise CliError(f"{name}: {first['msg']}.", field=name) from error


def check_engines() -> None:
    """Before any process is started that would refuse the same. Raises CliError that names the variable."""
    if wrong := engine_settings.wrong():
        raise CliError(wrong)


def _claim(bind: str, port: int, name: str) -> int:
    # Without SO_REUSEPORT on purpose: the gateway sets it, and two platforms would silently share the port.
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            variable = f"RECALL_{name.upper()}"
            remedy = f"Set {variable} to a free port (0: any)."
            raise CliError(f"{bind}:{port} cannot be used: {os.strerror(error.errno or 0)}.", remedy=remedy) from error
        return int(probe.getsockname()[1])
