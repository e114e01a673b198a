"""A pool of workers as Celery's is: `python -m tests.workers.forked_worker` forks a process for each build.

Reads a JSON line for each, {"build": id, "environment": {...}, "settings": {...}}, and says {"pid": n} at once and
{"pid": n, "status": code} when the process has ended, negative for a signal. Ends, and they too, when its input does.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import django

LOOK_SECONDS = 0.02


def main() -> None:
    django.setup()
    from workers import pipeline  # noqa: F401 - every process that is forked has it from here

    running: set[int] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            if selector.select(LOOK_SECONDS):
                line = os.read(sys.stdin.fileno(), 1 << 16).decode()
                if not line:
                    break
                running.update(_start(json.loads(each)) for each in line.splitlines())
            _reap(running)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _start(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _work(order)
    _say(pid=pid)
    return pid


def _work(order: dict[str, Any]) -> None:
    """In the forked process; never returns."""
    status = 1
    try:
        from django.conf import settings

        import failpoints
        from workers import pipeline

        os.environ.update(order["environment"])
        failpoints._armed = failpoints.parse(os.environ)
        for name, value in order["settings"].items():
            setattr(settings, name, Path(value) if name.startswith("RECALL_") else value)
        pipeline.run(order["build"])
        status = 0
    except Exception:  # noqa: BLE001 - whatever it is, the log shall have it
        traceback.print_exc()
    finally:
        os._exit(status)


def _reap(running: set[int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            _say(pid=pid, status=os.waitstatus_to_exitcode(status))


def _say(**line: int) -> None:
    os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main()
