"""RECALL_HOME/run/launcher.json: what runs now, for `recall status`, for tests, and for the launcher after a kill -9.

A process is named by its pid and its start (clock ticks since boot), since pids come round again.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from replicas.identity import start_ticks


@dataclass
class ProcessState:
    """One child. `state`: starting, running, waiting (died, comes back after a pause), stopped."""

    pid: int = 0
    started_ticks: int = 0
    state: str = "stopped"
    restarts: int = 0
    log: str = ""

    def alive(self) -> bool:
        return self.pid > 0 and start_ticks(self.pid) == self.started_ticks


@dataclass
class PlatformState:
    """`state`: starting, ready, stopping. `processes` are in the order of their start."""

    pid: int
    started_ticks: int
    state: str
    console_url: str
    api_url: str
    gateway: str
    processes: dict[str, ProcessState] = field(default_factory=dict)

    def launcher_alive(self) -> bool:
        return start_ticks(self.pid) == self.started_ticks


def write_state(path: Path, state: PlatformState) -> None:
    """Readers meet the old file or the new one. Mode 0600."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(state), file, indent=1)
    os.replace(fresh, path)


def read_state(path: Path) -> PlatformState | None:
    """None when there is none, or none that this version wrote."""
    try:
        values = json.loads(path.read_text())
        processes = {name: _known(ProcessState, process) for name, process in values.pop("processes").items()}
        return PlatformState(**values, processes=processes)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _known(kind: type[ProcessState], values: dict[str, Any]) -> ProcessState:
    return kind(**{one.name: values[one.name] for one in fields(kind)})
