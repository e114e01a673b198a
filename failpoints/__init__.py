"""Named places in the code at which a test can have the process die, stall or fail.

    RECALL_DEBUG=True RECALL_FAILPOINTS=publish.before_rename=kill,step.activate.before=sleep:2.5

An instrument for tests. Because one stray variable must not be able to kill a platform in production, it is refused
unless RECALL_DEBUG, which production never has, is true as well. When off, a failpoint costs one look at an empty
table; there is none on the path of a request.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

# Every failpoint but those of the build's steps, in the order in which a build reaches them.
NAMES: tuple[str, ...] = (
    "build.claimed",
    "import_child.started",
    "import_child.within_rows",
    "import_child.before_answer",
    "compare_child.started",
    "build_child.started",
    "build_child.before_answer",
    "tune_child.before_answer",
    "publish.within_files",
    "publish.after_files",
    "publish.after_checksums",
    "publish.before_manifest",
    "publish.within_manifest",
    "publish.after_manifest",
    "publish.before_rename",
    "publish.after_rename",
    "publish.before_row",
    "activate.before_update",
    "activate.before_commit",
    "activate.after_commit",
    "build.before_success",
)
# `step.<name>.before`: the step before it is recorded. `step.<name>.after`: it has run, and that is not recorded.
STEP_NAME = re.compile(r"step\.[a-z_]+\.(before|after)")
SLEEP_SECONDS_MAX = 600.0
HOLD_LOOK_SECONDS = 0.02


class FailpointRaised(Exception):
    """What the action `raise` raises."""


@dataclass(frozen=True)
class Action:
    """`kind` is kill, raise, sleep or hold; `seconds` belongs to sleep, and the file `until` to hold."""

    kind: str
    seconds: float = 0.0
    until: str = ""


def failpoint(name: str) -> None:
    """Does nothing, unless RECALL_FAILPOINTS says what to do at `name`."""
    if not _armed:
        return
    if not is_name(name):
        raise ValueError(f"{name} is no failpoint; the names stand in failpoints.NAMES.")
    action = _armed.get(name)
    if action is not None:
        _act(name, action)


def is_name(name: str) -> bool:
    return name in NAMES or STEP_NAME.fullmatch(name) is not None


def parse(environment: Mapping[str, str]) -> dict[str, Action]:
    """What RECALL_FAILPOINTS asks for. Raises ValueError for what is not understood, and without RECALL_DEBUG."""
    wanted = environment.get("RECALL_FAILPOINTS", "")
    if not wanted:
        return {}
    if environment.get("RECALL_DEBUG") not in ("True", "true", "1"):
        raise ValueError("RECALL_FAILPOINTS is an instrument of tests and needs RECALL_DEBUG=True beside it.")
    return dict(_parsed(part.strip()) for part in wanted.split(",") if part.strip())


def _parsed(text: str) -> tuple[str, Action]:
    name, _, told = text.partition("=")
    if not is_name(name):
        raise ValueError(f"RECALL_FAILPOINTS: there is no failpoint {name!r}.")
    kind, _, more = told.partition(":")
    if kind in ("kill", "raise") and not more:
        return name, Action(kind)
    if kind == "sleep" and re.fullmatch(r"\d+(\.\d+)?", more) and float(more) <= SLEEP_SECONDS_MAX:
        return name, Action(kind, float(more))
    if kind == "hold" and more.startswith("/"):
        return name, Action(kind, until=more)
    raise ValueError(f"RECALL_FAILPOINTS: {name} must be kill, raise, sleep:<seconds> or hold:</file>, not {told!r}.")


def _act(name: str, action: Action) -> None:
    sys.stderr.write(f"failpoint {name}: {action.kind}\n")
    sys.stderr.flush()
    if action.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action.kind == "sleep":
        time.sleep(action.seconds)
    elif action.kind == "hold":
        _hold(action.until)
    else:
        raise FailpointRaised(name)


def _hold(until: str) -> None:
    """Stalls until somebody has made that file, for as long as a sleep may take."""
    give_up_at = time.monotonic() + SLEEP_SECONDS_MAX
    while not os.path.exists(until) and time.monotonic() < give_up_at:
        time.sleep(HOLD_LOOK_SECONDS)


_armed = parse(os.environ)
