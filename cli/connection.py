"""Where the platform is and who we are there: from the environment, a profile, or this machine's own RECALL_HOME.

    RECALL_API_URL  RECALL_GATEWAY  RECALL_API_KEY (or RECALL_API_KEY_FILE)  RECALL_TENANT  RECALL_PROFILE

    ~/.config/recall/profiles.toml
        [default]
        api_url = "https://recall.example.org"
        gateway = "recall.example.org:50051"
        api_key = "rk_..."
        tenant = "films"

The environment wins over the profile, name by name. Without a key, on the platform's own machine, commands act through
its database, as `createsuperuser` would.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.errors import EXIT_DENIED, EXIT_USAGE, CliError

DEFAULT_PROFILE = "default"
# Field of a profile -> variable that wins over it.
VARIABLES = {
    "api_url": "RECALL_API_URL",
    "gateway": "RECALL_GATEWAY",
    "api_key": "RECALL_API_KEY",
    "tenant": "RECALL_TENANT",
}
CONSOLE_PORT = 8000
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
NO_KEY = "Set RECALL_API_KEY or RECALL_API_KEY_FILE, or api_key in ~/.config/recall/profiles.toml."


@dataclass(frozen=True)
class Connection:
    """`api_url` has no path. Empty: not known."""

    api_url: str = ""
    gateway: str = ""
    api_key: str = ""
    tenant: str = ""

    def is_local(self) -> bool:
        """No key, and this machine's RECALL_HOME (or the configured database) is the platform that is meant."""
        return not self.api_key and self.is_loopback() and _has_database()

    def is_loopback(self) -> bool:
        """Whether the platform that is meant is one of this machine."""
        return not self.api_url or urlsplit(self.api_url).hostname in LOOPBACK_HOSTS

    def key_or_error(self) -> str:
        if not self.api_key:
            raise CliError("There is no API key.", remedy=NO_KEY, exit_code=EXIT_DENIED)
        return self.api_key


def connect() -> Connection:
    """What is configured, completed by what a launcher of this RECALL_HOME says of itself. Raises CliError."""
    values = {**_running_platform(), **_profile(), **_environment()}
    values["api_url"] = values.get("api_url", _local_url()).rstrip("/").removesuffix("/api/v1")
    return Connection(**values)


def _local_url() -> str:
    """Where `recall up` would put the console. A port of 0 is any free one, which nobody can know before."""
    port = os.environ.get("RECALL_CONSOLE_PORT", "")
    return f"http://127.0.0.1:{port if port.isdecimal() and int(port) else CONSOLE_PORT}"


def _environment() -> dict[str, str]:
    values = {name: os.environ.get(variable, "") for name, variable in VARIABLES.items()}
    key_file = os.environ.get("RECALL_API_KEY_FILE")
    if key_file and not values["api_key"]:
        values["api_key"] = _read(Path(key_file), "RECALL_API_KEY_FILE").strip()
    return {name: value for name, value in values.items() if value}


def _profile() -> dict[str, str]:
    path = _profiles_path()
    name = os.environ.get("RECALL_PROFILE", "")
    if not path.is_file():
        if name:
            raise CliError(f"There is no {path}.", field="RECALL_PROFILE", exit_code=EXIT_USAGE)
        return {}
    try:
        profiles = tomllib.loads(_read(path, "profiles.toml"))
    except tomllib.TOMLDecodeError as error:
        raise CliError(f"{path} is not TOML: {error}.", exit_code=EXIT_USAGE) from error
    if name and name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise CliError(f"{path} has no profile {name}; it has {known}.", field="RECALL_PROFILE", exit_code=EXIT_USAGE)
    return _checked(profiles.get(name or DEFAULT_PROFILE, {}), path)


def _checked(profile: dict[str, Any], path: Path) -> dict[str, str]:
    unknown = sorted(set(profile) - set(VARIABLES))
    if unknown:
        remedy = f"It may have {', '.join(VARIABLES)}."
        raise CliError(f"{path}: there is no setting {unknown[0]}.", remedy=remedy, exit_code=EXIT_USAGE)
    if "api_key" in profile and path.stat().st_mode & 0o077:
        raise CliError(f"{path} holds a key and others can read it.", remedy=f"chmod 600 {path}", exit_code=EXIT_USAGE)
    return {name: str(value) for name, value in profile.items()}


def _profiles_path() -> Path:
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "recall" / "profiles.toml"


def _read(path: Path, field: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}.", field=field, exit_code=EXIT_USAGE) from error


def _home() -> Path:
    return Path(os.environ.get("RECALL_HOME") or "var").resolve()


def _has_database() -> bool:
    return bool(os.environ.get("RECALL_DATABASE_URL")) or (_home() / "db" / "recall.sqlite3").is_file()


def _running_platform() -> dict[str, str]:
    state = _home() / "run" / "launcher.json"
    if not os.access(state, os.R_OK):
        return {}
    from cli.launcher.state import read_state

    found = read_state(state)
    return {"api_url": found.console_url, "gateway": found.gateway} if found and found.launcher_alive() else {}
