"""What is generated and committed is what its source makes today."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROTOS_SECONDS_MAX = 180


@pytest.mark.servers
def test_the_committed_stubs_are_what_the_protos_compile_to() -> None:
    done = subprocess.run(
        [str(ROOT / "tools/protos-check.sh")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PROTOS_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
