"""Each process of pytest-xdist has a RECALL_HOME of its own: builds of two of them have the same names and numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TELL = "import os; from tests import settings; print(settings.RECALL_WORK, os.environ['RECALL_HOME'], sep='\\n')"


def told(home: Path, worker: str = "") -> tuple[Path, Path]:
    """The working folder of builds, and the home that processes inherit."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RECALL_", "PYTEST_"))}
    environment = {**ours, "RECALL_HOME": str(home), "PYTEST_XDIST_WORKER": worker}
    done = subprocess.run(
        [sys.executable, "-c", TELL], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    work, inherited = map(Path, done.stdout.split())
    return work, inherited


def test_two_workers_of_one_run_share_no_working_folder(tmp_path: Path) -> None:
    assert told(tmp_path, "gw0") == (tmp_path / "gw0" / "work", tmp_path / "gw0")
    assert told(tmp_path, "gw1") == (tmp_path / "gw1" / "work", tmp_path / "gw1")


def test_without_workers_the_home_that_is_given_is_used(tmp_path: Path) -> None:
    assert told(tmp_path) == (tmp_path / "work", tmp_path)


def test_what_a_test_starts_has_the_home_of_its_worker(tmp_path: Path) -> None:
    _, inherited = told(tmp_path, "gw0")
    assert told(inherited, "gw0") == told(tmp_path, "gw0")
