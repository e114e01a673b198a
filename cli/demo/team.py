"""The demo's tenant, its owner and its key: made once, found again on later runs."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.api import Api, over_http
from cli.connection import Connection
from cli.errors import EXIT_DENIED, EXIT_NOT_FOUND, CliError
from cli.launcher.settings import LauncherSettings
from cli.launcher.state import PlatformState
from cli.local import call_in_process
from demo.service import SERVICE, TENANT, TITLE

USER = "demo"
SERVICE_PATH = f"/tenants/{TENANT}/services/{SERVICE}"
PASSWORD_BYTES = 15


@dataclass(frozen=True)
class Team:
    """`api` calls REST over HTTP with `key`; `password` is empty when the person was there before."""

    api: Api
    key: str
    password: str
    password_file: Path


def find_or_make_team(settings: LauncherSettings, platform: PlatformState) -> Team:
    """Tenant `demo`, its owner `demo` with a password made up for this RECALL_HOME, a key of scope manage."""
    os.environ["RECALL_HOME"] = str(settings.home)
    admin = Api(call_in_process, Connection())
    if _find(admin, f"/tenants/{TENANT}") is None:
        admin.post("/tenants", {"name": TENANT, "title": TITLE})
    password_file = settings.secrets / "demo_password"
    members = {member["username"] for member in admin.pages(f"/tenants/{TENANT}/members", "members")}
    password = "" if USER in members else _owner(admin, password_file)
    key, api = _key(admin, settings, platform)
    return Team(api=api, key=key, password=password, password_file=password_file)


def release(api: Api) -> None:
    """A rollback puts a service on hold; this ends it."""
    api.post(f"{SERVICE_PATH}:release", {"reason": "recall demo"})


def _owner(admin: Api, password_file: Path) -> str:
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    _write_private(password_file, password)
    # Whoever runs the demo signs in as its owner, and finds the password in the file later on.
    owner = {"username": USER, "role": "owner", "password": password, "must_change_password": False}
    admin.post(f"/tenants/{TENANT}/members", owner)
    return password


def _key(admin: Api, settings: LauncherSettings, platform: PlatformState) -> tuple[str, Api]:
    """The key of an earlier run if it still opens the tenant, else a new one."""
    path = settings.secrets / "demo_key"
    if path.is_file():
        key = path.read_text().strip()
        api = _api(platform, key)
        if _opens(api):
            return key, api
    key = str(admin.post(f"/tenants/{TENANT}/keys", {"scope": "manage", "name": "recall demo"})["key"])
    _write_private(path, key)
    return key, _api(platform, key)


def _api(platform: PlatformState, key: str) -> Api:
    connection = Connection(api_url=platform.console_url, gateway=platform.gateway, api_key=key, tenant=TENANT)
    return Api(over_http(connection), connection)


def _opens(api: Api) -> bool:
    try:
        api.get(f"/tenants/{TENANT}")
    except CliError as error:
        if error.exit_code == EXIT_DENIED:
            return False
        raise
    return True


def _find(api: Api, path: str) -> dict[str, Any] | None:
    try:
        return api.get(path)
    except CliError as error:
        if error.exit_code == EXIT_NOT_FOUND:
            return None
        raise


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
