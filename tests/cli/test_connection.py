"""Where commands call and as whom: environment over profile over the platform that runs here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.api import over_http
from cli.connection import Connection, connect
from cli.errors import CliError
from cli.launcher.state import PlatformState, write_state
from replicas.identity import start_ticks

HELP_SECONDS_MAX = 10
HEAVY = ("django", "celery", "grpc", "numpy", "pyarrow", "pydantic", "httpx")


@pytest.fixture
def profiles(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "config" / "recall" / "profiles.toml"
    path.parent.mkdir(parents=True)
    path.write_text(
        '[default]\napi_url = "https://recall.example.org/"\napi_key = "rk_default"\n'
        '[staging]\napi_url = "https://staging.example.org/api/v1"\ntenant = "films"\n'
    )
    path.chmod(0o600)
    return path


def test_with_nothing_set_it_is_this_machine(clean_environment: pytest.MonkeyPatch) -> None:
    assert connect() == Connection(api_url="http://127.0.0.1:8000")


def test_the_default_profile_is_used_and_the_environment_wins(
    profiles: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    clean_environment.setenv("RECALL_API_KEY", "rk_mine")
    assert connect() == Connection(api_url="https://recall.example.org", api_key="rk_mine")


def test_a_profile_is_chosen_by_name(profiles: Path, clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("RECALL_PROFILE", "staging")
    assert connect() == Connection(api_url="https://staging.example.org", tenant="films")
    clean_environment.setenv("RECALL_PROFILE", "production")
    with pytest.raises(CliError, match="no profile production; it has default, staging"):
        connect()


def test_a_profile_with_a_key_that_others_can_read_is_refused(profiles: Path) -> None:
    profiles.chmod(0o644)
    with pytest.raises(CliError, match="others can read") as caught:
        connect()
    assert "chmod 600" in caught.value.remedy


def test_a_misspelt_setting_of_a_profile_is_named(profiles: Path) -> None:
    profiles.write_text('[default]\nurl = "https://recall.example.org"\n')
    with pytest.raises(CliError, match="no setting url"):
        connect()


def test_a_key_may_lie_in_a_file(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("rk_from_file\n")
    clean_environment.setenv("RECALL_API_KEY_FILE", str(tmp_path / "key"))
    assert connect().api_key == "rk_from_file"


def test_the_platform_that_runs_here_says_its_ports(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = tmp_path / "home" / "run"
    run.mkdir(parents=True)
    here = PlatformState(
        os.getpid(), start_ticks(os.getpid()) or 0, "ready", "http://127.0.0.1:8123", "", "127.0.0.1:9"
    )
    write_state(run / "launcher.json", here)
    assert connect() == Connection(api_url="http://127.0.0.1:8123", gateway="127.0.0.1:9")
    here.started_ticks = 1
    write_state(run / "launcher.json", here)
    assert connect().gateway == ""


@pytest.mark.parametrize(("port", "url"), [("8123", "http://127.0.0.1:8123"), ("0", "http://127.0.0.1:8000")])
def test_a_platform_that_is_down_is_looked_for_at_its_port(
    clean_environment: pytest.MonkeyPatch, port: str, url: str
) -> None:
    clean_environment.setenv("RECALL_CONSOLE_PORT", port)
    assert connect().api_url == url


def test_a_platform_that_cannot_be_reached_here_can_be_started_and_a_distant_one_cannot() -> None:
    # Nothing listens on port 1, and only 127.0.0.1 counts as this machine.
    with pytest.raises(CliError) as here:
        over_http(Connection(api_url="http://127.0.0.1:1", api_key="rk_mine"))("GET", "/tenants", None)
    assert "http://127.0.0.1:1 cannot be reached" in here.value.message
    assert "recall up" in here.value.remedy
    with pytest.raises(CliError) as there:
        over_http(Connection(api_url="http://127.0.0.2:1", api_key="rk_mine"))("GET", "/tenants", None)
    assert "recall up" not in there.value.remedy


def test_without_a_key_a_distant_platform_is_never_this_machine_s(
    clean_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean_environment.setenv("RECALL_DATABASE_URL", f"sqlite:///{tmp_path}/recall.sqlite3")
    assert connect().is_local()
    assert not Connection(api_url="https://recall.example.org").is_local()
    assert not Connection(api_url="http://127.0.0.1:8000", api_key="rk_mine").is_local()


def test_the_help_is_quick_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cli.main import app; from typer.main import get_command; get_command(app);"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
    assert time.monotonic() - begin < HELP_SECONDS_MAX
