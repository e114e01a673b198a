"""RECALL_TEST_NO_SKIPS=1 turns every skip into a failure that says what was left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.servers

ROOT = Path(__file__).resolve().parents[2]

CASES = {
    "a mark": "import pytest\n@pytest.mark.skip(reason='no such part')\ndef test_it(): pass\n",
    "a call": "import pytest\ndef test_it(): pytest.skip('no such part')\n",
    "a whole file": "import pytest\npytest.skip('no such part', allow_module_level=True)\n",
}


def run(folder: Path, forbidden: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.no_skips",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:django",
    ]
    return subprocess.run(
        [*command, "--continue-on-collection-errors", "--rootdir", str(folder), "-c", os.devnull, str(folder)],
        cwd=ROOT,
        env={**os.environ, "RECALL_TEST_NO_SKIPS": forbidden},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_kind_of_skip_is_a_failure_where_skips_are_forbidden(tmp_path: Path) -> None:
    for number, source in enumerate(CASES.values()):
        (tmp_path / f"test_{number}.py").write_text(source)
    allowed, forbidden = run(tmp_path, "0"), run(tmp_path, "1")
    assert allowed.returncode in (0, 5), allowed.stdout
    assert f"{len(CASES)} skipped" in allowed.stdout
    assert forbidden.returncode in (1, 2), forbidden.stdout
    assert forbidden.stdout.count("Skips are forbidden in this run") >= len(CASES)
    assert "no such part" in forbidden.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n")
    assert run(tmp_path, "1").returncode == 0
