"""Following a build: polls it, shows its steps, says how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cli.api import Api
from cli.errors import EXIT_BUILD, CliError
from cli.output import console, moment, remark
from common.texts import sentence

if TYPE_CHECKING:
    from rich.table import Table

POLL_SECONDS = 0.3
WAIT_SECONDS_MAX = 24 * 3600
WAITING_STATES = ("PENDING", "RUNNING")
ENDED_BADLY = ("HELD", "FAILED", "CANCELLED")
# On a terminal, so many of the newest lines of its log stand below the steps of a build.
LINES_BELOW_STEPS = 4
STEP_WIDTH = 16
MARKS = {
    "DONE": "[green]✓[/]",
    "RUNNING": "[cyan]●[/]",
    "HELD": "[yellow]‖[/]",
    "FAILED": "[red]✗[/]",
    "CANCELLED": "[yellow]–[/]",
}

Build = dict[str, Any]


def await_build(api: Api, service_path: str, number: int, heard: Callable[[Build], None]) -> Build:
    """Waits until the build ends or is held; `heard` sees it at every poll. Returns it, however it ended."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        build = api.get(f"{service_path}/builds/{number}")
        heard(build)
        if build["state"] not in WAITING_STATES:
            return build
        if time.monotonic() > until:
            raise CliError(f"Build {number} still runs after {WAIT_SECONDS_MAX // 3600} h.", exit_code=EXIT_BUILD)
        time.sleep(POLL_SECONDS)


def watch_build(api: Api, service_path: str, number: int, *, log: bool = False) -> Build:
    """Waits like `await_build` and shows the steps on stderr: moving on a terminal, else a line for each that ended.

    With `log` each line that the build says, instead.
    """
    if log:
        return await_build(api, service_path, number, _listener())
    if not sys.stderr.isatty():
        return await_build(api, service_path, number, _teller())
    from rich.live import Live

    with Live(console=console(stderr=True), refresh_per_second=8) as live:
        return await_build(api, service_path, number, lambda build: live.update(_steps_table(build)))


def require_success(build: Build) -> None:
    """Raises CliError with the build's own words unless it succeeded."""
    if build["state"] == "SUCCEEDED":
        return
    error = build["error"] or {}
    said = [error.get(part, "") for part in ("message", "effect", "next_step")]
    message = f"Build {build['number']} is {build['state']}: {' '.join(sentence(part) for part in said if part)}"
    raise CliError(message, reason=error.get("reason", ""), exit_code=EXIT_BUILD)


def is_duplicate(build: Build) -> bool:
    """Whether the platform found that another build is the same: its drop under this spec."""
    return (build["error"] or {}).get("reason") == "build.duplicate"


def step_line(step: dict[str, Any]) -> str:
    """`build_index  62 %  41,000/s  0:04 left`"""
    parts = [step["name"]]
    if step["state"] == "RUNNING" and step["progress"] is not None:
        parts.append(f"{100 * step['progress']:.0f} %")
    if step["rate"]:
        parts.append(f"{step['rate']:,.0f}/s")
    if step["state"] == "RUNNING" and step["eta_seconds"] is not None:
        minutes, seconds = divmod(round(step["eta_seconds"]), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    if step["detail"] and step["state"] not in ENDED_BADLY:
        # Of a step that ended badly, the detail is the build's own message, which is told at the end.
        parts.append(step["detail"])
    return "  ".join(parts)


def log_line(line: dict[str, Any]) -> str:
    """`2026-11-26 08:57:54  import_items    warning: 3 rows are bad: nan.`"""
    level = "" if line["level"] == "info" else f"{line['level']}: "
    return f"{moment(line['at'])}  {line['step']:<{STEP_WIDTH}}  {level}{line['text']}"


def _steps(build: Build) -> list[dict[str, Any]]:
    """None of a repetition: that its only step was cancelled says nothing of the build that it repeats."""
    return [] if is_duplicate(build) else build["steps"]


def _steps_table(build: Build) -> Table:
    from rich.markup import escape
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    for step in _steps(build):
        grid.add_row(MARKS.get(step["state"], "[dim]·[/]"), escape(step_line(step)))
    for line in build["log"][-LINES_BELOW_STEPS:]:
        grid.add_row("", f"[dim]{escape(log_line(line))}[/]")
    return grid


def _listener() -> Callable[[Build], None]:
    """Tells the lines that are new since the last look: the newest are kept, so that old ones may be gone."""
    told: list[dict[str, Any]] = []

    def tell(build: Build) -> None:
        for line in build["log"]:
            if line not in told:
                remark(log_line(line))
        told[:] = build["log"]

    return tell


def _teller() -> Callable[[Build], None]:
    """Without a terminal: one line for each step that ended."""
    told: set[str] = set()

    def tell(build: Build) -> None:
        for step in _steps(build):
            if step["state"] not in ("PENDING", "RUNNING") and step["name"] not in told:
                told.add(step["name"])
                remark(f"{step['state'].lower():>9}  {step_line(step)}")

    return tell
