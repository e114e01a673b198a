"""Which instances there are, from the one setting that names them. Does not import pymilvus."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

SETTING = "RECALL_MILVUS_INSTANCES"
# Passwords stand in the addresses, so that the setting may be a file, like other secrets.
SETTING_FILE = f"{SETTING}_FILE"
EXAMPLE = "blue=http://10.0.0.5:19530"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
SCHEMES = ("http", "https", "tcp")


class SettingWrong(ValueError):
    """The setting says something that cannot be; its text holds no address, because that may hold a password."""


@dataclass(frozen=True)
class Address:
    """One instance: where it is, and as whom we come. `uri` has no credentials in it and may be shown."""

    name: str
    uri: str
    database: str = ""
    token: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        """Host and port, as they stand in errors of the library."""
        return self.uri.partition("://")[2]

    @property
    def endpoint(self) -> tuple[str, int]:
        """The same, to connect to."""
        host, _, port = self.place.rpartition(":")
        return host.strip("[]"), int(port)


def configured() -> dict[str, Address]:
    """Every instance by name, in the order of the setting; empty when nothing is set. Raises SettingWrong."""
    entries = [entry.strip() for entry in _raw().split(",") if entry.strip()]
    found: dict[str, Address] = {}
    for number, entry in enumerate(entries, start=1):
        name, equals, uri = entry.partition("=")
        if not equals or not NAME.fullmatch(name.strip()):
            raise SettingWrong(f"{SETTING}: entry {number} is not a name and an address, such as {EXAMPLE}")
        if name.strip() in found:
            raise SettingWrong(f"{SETTING}: entry {number} names {name.strip()} once more")
        found[name.strip()] = _address(name.strip(), uri.strip())
    return found


def lacks() -> str:
    """What keeps this process from using the engine, and the remedy; empty when nothing does."""
    try:
        if configured():
            return ""
    except SettingWrong as error:
        return f"{error}. An administrator has to mend it."
    return (
        "No Milvus instance is configured here. An administrator names one in "
        f"{SETTING}, such as {EXAMPLE}, for the console, the workers and the agents, and restarts them: processes read "
        "it when they start."
    )


def _raw() -> str:
    if value := os.environ.get(SETTING):
        return value
    path = os.environ.get(SETTING_FILE)
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingWrong(f"{SETTING_FILE}: {path}: {error.strerror}") from error


def _address(name: str, uri: str) -> Address:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise SettingWrong(f"{SETTING}: the address of {name} is not {known} with a host and a port")
    token = unquote(parts.username or "")
    if parts.password:
        token = f"{token}:{unquote(parts.password)}"
    shown = f"[{host}]" if ":" in host else host
    return Address(name, f"{parts.scheme}://{shown}:{port}", parts.path.strip("/"), token)
