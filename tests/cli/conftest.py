"""Running `recall` inside the test's process, on the test's database."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.errors import CliError
from cli.main import app


@dataclass(frozen=True)
class Ran:
    """How a command ended. `error` is what `main` would have told in one line."""

    code: int
    out: str
    err: str
    error: CliError | None

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Recall = Callable[..., Ran]


@pytest.fixture
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of the caller's: no key, no profile, a RECALL_HOME without a platform."""
    for name in [name for name in os.environ if name.startswith("RECALL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RECALL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return monkeypatch


@pytest.fixture
def recall(clean_environment: pytest.MonkeyPatch) -> Recall:
    def run(*arguments: str, stdin: str = "") -> Ran:
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        if isinstance(result.exception, CliError):
            return Ran(result.exception.exit_code, result.stdout, result.stderr, result.exception)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr, None)

    return run


@pytest.fixture
def local(db: None, recall: Recall, clean_environment: pytest.MonkeyPatch) -> Recall:
    """On the platform's own machine, without a key."""
    clean_environment.setenv("RECALL_DATABASE_URL", "sqlite:///the-tests-database")
    return recall
