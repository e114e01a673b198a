"""Typed reading of the environment. A value that is set but wrong stops the program and names the variable."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

SECRET_BYTES = 32
SECRET_CHARACTERS_MIN = 16


def env_str(name: str, default: str) -> str:
    return os.environ.get(name) or default


def env_int(name: str, default: int) -> int:
    raw = os.environ.get(name)
    if not raw:
        return default
    try:
        return int(raw)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {raw!r}.") from error


def env_bool(name: str, default: bool) -> bool:
    raw = os.environ.get(name)
    if not raw:
        return default
    if raw not in ("True", "False", "true", "false", "1", "0"):
        raise ImproperlyConfigured(f"{name} must be True or False, not {raw!r}.")
    return raw in ("True", "true", "1")


def env_list(name: str, default: list[str]) -> list[str]:
    raw = os.environ.get(name)
    return [part.strip() for part in raw.split(",") if part.strip()] if raw else default


def env_secret(name: str, made_at: Path) -> str:
    """The secret NAME, or the content of the file NAME_FILE, or the file `made_at`, made on first use.

    There is no default secret: with nothing configured each RECALL_HOME gets random ones of its own. A short one stops
    the program, because with an empty secret anybody could sign.
    """
    secret = _find_secret(name, made_at)
    if len(secret) < SECRET_CHARACTERS_MIN:
        raise ImproperlyConfigured(f"{name} must have at least {SECRET_CHARACTERS_MIN} characters.")
    return secret


def _find_secret(name: str, made_at: Path) -> str:
    if raw := os.environ.get(name):
        return raw
    if path := os.environ.get(f"{name}_FILE"):
        if not Path(path).is_file():
            raise ImproperlyConfigured(f"{name}_FILE points to {path}, which is not a file.")
        return Path(path).read_text().strip()
    return _read_or_make(made_at)


def _read_or_make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_urlsafe(SECRET_BYTES))
    try:
        # A link fails when the name exists, so that of two processes that start at once one secret wins.
        os.link(fresh, path)
    except FileExistsError:
        pass  # Another process got there first; its secret counts.
    finally:
        fresh.unlink()
    return path.read_text().strip()
