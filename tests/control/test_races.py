"""What many do at the same moment: quotas and names hold, on a database in a file or on PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import postgres

ROOT = Path(__file__).resolve().parents[2]
RACE_SECONDS_MAX = 120


def test_quotas_names_and_the_last_owner_hold_when_all_come_at_once(tmp_path):
    environment = {**os.environ, "RECALL_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"}
    environment.pop("RECALL_DATABASE_URL", None)
    if os.environ.get("RECALL_TEST_POSTGRES"):
        environment["RECALL_DATABASE_URL"] = postgres.url("django", "race")
    done = subprocess.run(
        [sys.executable, "-m", "tests.control.race_of_creations", "3"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RACE_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "creations": {"done": 3, "QUOTA_EXCEEDED": 5},
        "namesakes": {"done": 1, "SERVICE_EXISTS": 7},
        "owners": {"done": 1, "LAST_OWNER": 1},
        "looks": {"done": 8, "builds": 1, "looked": 8},
    }
