"""What these programs share: limits taken from the order, JSON lines said on standard output."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from bundles.errors import BundleError
from engines.errors import EngineError, OutOfMemory
from engines.leash import (
    be_nice,
    cap_memory,
    die_with_parent,
    keep_to_cpus,
    lift_memory_cap,
    peak_memory_bytes,
    watch_memory,
)

PROGRESS_SECONDS = 1.0
EXIT_FAILED = 1

Order = dict[str, Any]
Work = Callable[[Order], dict[str, Any]]


def run(work: Work, arguments: list[str]) -> int:
    """Carries out the order in the file `arguments[0]` and says the result; returns the exit code."""
    started = time.monotonic()
    try:
        order: Order = json.loads(Path(arguments[0]).read_text())
        die_with_parent(order["parent_pid"])
        be_nice(order["nice"])
        keep_to_cpus(order["cpus"])
        watch_memory(order["memory_bytes_max"], _end_for_memory)
        cap_memory(order["memory_bytes_max"])
        result = work(order)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shall read a reason instead of a silence
        lift_memory_cap()
        traceback.print_exc()
        say({"error": _told(error)})
        return EXIT_FAILED
    seconds = round(time.monotonic() - started, 3)
    say({**result, "done": True, "seconds": seconds, "peak_rss_bytes": peak_memory_bytes()})
    return 0


class _Done:
    """Says how much is done, at most once in PROGRESS_SECONDS."""

    unit: str

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, done: int, expected: int) -> None:
        now = time.monotonic()
        if now - self._said_at >= PROGRESS_SECONDS:
            self._said_at = now
            say({f"{self.unit}_done": done, self.unit: expected})


class RowsDone(_Done):
    """Rows that were read, added or checked."""

    unit = "rows"


class BytesDone(_Done):
    """Bytes that were brought here."""

    unit = "bytes"


def say_ready() -> None:
    """What comes now is the work itself: whoever has set it a time limit counts from here."""
    say({"ready": True})


def say(line: dict[str, Any]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")


def _end_for_memory(held_bytes: int) -> NoReturn:
    """From the watching thread: the thread that works may be inside a library and hear nothing."""
    say({"error": OutOfMemory(f"the work held {held_bytes} bytes, more than it may").to_dict()})
    os._exit(EXIT_FAILED)


def _told(error: Exception) -> dict[str, str]:
    if isinstance(error, MemoryError):
        error = OutOfMemory("the work does not fit into the memory that a build may use")
    if isinstance(error, (BundleError, EngineError)):
        return {"reason": error.reason, "owner": error.owner, "message": error.message}
    if isinstance(error, OSError):
        return {
            "reason": "platform.io",
            "owner": "platform",
            "message": f"{error.strerror or 'Input or output failed'}.",
        }
    return {"reason": "platform.internal", "owner": "platform", "message": "The log of the platform tells what."}
