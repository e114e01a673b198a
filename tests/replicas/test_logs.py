"""Whoever logs in a process of the data plane, its lines are JSON: one shape for whoever reads them."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import logging
from replicas.logs import configure_logs
log = configure_logs(replica="r12")
log.warning("ours", queries=3)
logging.getLogger("engines.any").warning("the instance %s answers again", "blue")
logging.getLogger("engines.any").info("of no interest")
try:
    raise ValueError("odd")
except ValueError:
    logging.getLogger("engines.any").exception("it broke")
"""


def test_what_engines_and_libraries_log_has_the_shape_of_our_own_lines() -> None:
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    ours, theirs, broken = map(json.loads, ended.stderr.splitlines())
    assert ours["replica"] == theirs["replica"] == broken["replica"] == "r12"
    assert (theirs["event"], theirs["level"], theirs["logger"]) == (
        "the instance blue answers again",
        "warning",
        "engines.any",
    )
    assert "ValueError: odd" in broken["exception"]
    assert ended.stdout == ""
