"""A real gateway in a process of its own, which knows keys and routes from the Valkey of a test."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from tests.support.valkey import Valkey

WAIT_SECONDS_MAX = 60.0


@contextlib.contextmanager
def running_gateway(home: Path, valkey: Valkey) -> Iterator[str]:
    """`python -m gateway`; its address."""
    note = home / "run" / "gateway-0.json"
    environment = {
        **os.environ,
        "RECALL_HOME": str(home),
        "RECALL_REDIS_URL": valkey.url,
        "RECALL_GATEWAY_PORT": "0",
        "RECALL_KEY_PEPPER": settings.KEY_PEPPER,
        "RECALL_INTERNAL_TOKEN": settings.INTERNAL_TOKEN,
        "RECALL_CONSOLE_URL": "http://127.0.0.1:9",
    }
    process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment)
    try:
        give_up_at = time.monotonic() + WAIT_SECONDS_MAX
        while not note.exists():
            assert time.monotonic() < give_up_at, f"waited {WAIT_SECONDS_MAX:g} s for the gateway to listen"
            time.sleep(0.02)
        yield json.loads(note.read_text())["address"]
    finally:
        process.terminate()
        process.wait(30)
