"""Runs the heavy part of a step in a process of its own, which says what it does in JSON lines on standard output.

{"ready": true} when it is about to begin, where somebody waits for that, {"rows_done": n, "rows": N} or
{"bytes_done": n, "bytes": N} while it works, {"note": sentence} for people, {"done": true, ...} at its end, {"error":
{"reason", "owner", "message"}} when it failed. The child dies with this process (PDEATHSIG), and at once when `check`
raises.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from engines.pages import with_huge_pages
from workers.outcomes import StepFailed

LOOK_SECONDS = 0.2
READ_BYTES = 1 << 16
LINE_BYTES_MAX = 1 << 22
# A child that says nothing for so long is stuck: at the slowest it tells of a chunk of rows.
SILENCE_SECONDS_MAX = 1_800
STDERR_TAIL_BYTES = 2_000
EXIT_SECONDS_MAX = 30

Check = Callable[[], None]
# Hears what a child tells people.
Say = Callable[[str], None]
Ready = Callable[[], None]


class Progress(Protocol):
    """Hears what is done, what is expected in all (0: not known), and of what."""

    def __call__(self, done: int, expected: int, unit: str = "rows", /) -> None: ...


def nobody_hears(_: str) -> None:
    """Of a child that belongs to no build there is no log."""


def _nobody_waits() -> None:
    """Most children say nothing before they have done something."""


def run_child(
    module: str,
    order: dict[str, Any],
    folder: Path,
    *,
    check: Check,
    progress: Progress,
    say: Say = nobody_hears,
    ready: Ready = _nobody_waits,
) -> dict[str, Any]:
    """Runs `python -m module ORDER.json` to its end and returns the line that says it is done.

    `check` is called several times a second; when it raises, the child is killed at once. The order and the child's
    standard error stay in `folder`, which must be the caller's alone: a child that finds the order of another process
    there ends itself. Raises StepFailed with the child's reason, or with how it died.
    """
    name = module.rpartition(".")[2]
    order_path, stderr_path = folder / f"{name}.json", folder / f"{name}.stderr"
    order_path.write_text(json.dumps(order))
    with stderr_path.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(order_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # Some build an index or measure one.
            env=with_huge_pages(os.environ),
        )
    try:
        done = _follow(child, check, progress, say, ready)
    finally:
        child.kill()
        status = child.wait(EXIT_SECONDS_MAX)
    if done is None:
        raise StepFailed("engine.crashed", f"{module} {_end(status)}.{_tail(stderr_path)}")
    return done


def _follow(
    child: subprocess.Popen[bytes], check: Check, progress: Progress, say: Say, ready: Ready
) -> dict[str, Any] | None:
    """The child's last word; None when it ended without one."""
    assert child.stdout is not None  # noqa: S101 - it was asked for
    done: dict[str, Any] | None = None
    for line in _lines(child.stdout, check):
        if "error" in line:
            error = line["error"]
            raise StepFailed(error["reason"], error["message"], owner=error.get("owner", "platform"))
        if line.get("done"):
            done = line
        elif line.get("ready"):
            ready()
        elif "rows_done" in line:
            progress(int(line["rows_done"]), int(line["rows"]))
        elif "bytes_done" in line:
            progress(int(line["bytes_done"]), int(line["bytes"]), "bytes")
        elif "note" in line:
            say(str(line["note"]))
    child.wait(EXIT_SECONDS_MAX)
    return done


def _lines(stream: IO[bytes], check: Check) -> Iterator[dict[str, Any]]:
    """Each line as it comes, until the child closes its end; looks at `check` meanwhile."""
    buffer = b""
    heard_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            check()
            if not selector.select(LOOK_SECONDS):
                if time.monotonic() - heard_at > SILENCE_SECONDS_MAX:
                    raise StepFailed("engine.stuck", f"Nothing was heard for {SILENCE_SECONDS_MAX} s.")
                continue
            chunk = os.read(stream.fileno(), READ_BYTES)
            if not chunk:
                return
            heard_at = time.monotonic()
            *whole, buffer = (buffer + chunk).split(b"\n")
            if len(buffer) > LINE_BYTES_MAX:
                raise StepFailed("engine.crashed", f"The child wrote a line of more than {LINE_BYTES_MAX} bytes.")
            yield from (json.loads(line) for line in whole if line.strip())


def _end(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with code {status} and without a result"


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - STDERR_TAIL_BYTES))
        text = file.read().decode(errors="replace").strip()
    return f" Its last words: {text}" if text else ""
