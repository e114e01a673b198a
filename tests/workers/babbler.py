"""A child that does what its order says: `python -m tests.workers.babbler ORDER.json`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

order = json.loads(Path(sys.argv[1]).read_text())
for line in order.get("say", []):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
sys.stderr.write(order.get("mutter", ""))
sys.stderr.flush()
if "pid_file" in order:
    Path(order["pid_file"]).write_text(str(os.getpid()))
if "signal" in order:
    os.kill(os.getpid(), signal.Signals[order["signal"]])
time.sleep(order.get("sleep", 0))
sys.exit(order.get("exit", 0))
