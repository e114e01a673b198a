"""A secret that is empty or short is no secret: the gateway does not start with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError


def test_it_refuses_an_empty_secret_in_a_file(tmp_path: Path) -> None:
    empty = tmp_path / "internal_token"
    empty.write_text("\n")
    with pytest.raises(SettingsError, match="RECALL_INTERNAL_TOKEN must have at least 16"):
        Settings(home=tmp_path, internal_token_file=empty).secret("internal_token")


def test_an_empty_variable_is_none_and_the_file_counts(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key_pepper").write_text("long enough to be a pepper\n")
    settings = Settings(home=tmp_path, key_pepper="")  # type: ignore[arg-type]
    assert settings.secret("key_pepper") == b"long enough to be a pepper"


def test_it_refuses_a_short_secret(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, key_pepper="short")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="RECALL_KEY_PEPPER"):
        settings.secret("key_pepper")
