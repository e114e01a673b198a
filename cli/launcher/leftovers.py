"""What a killed launcher left running is found by launcher.json and by the replicas' lock files, and is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from cli.launcher.child import POLL_SECONDS, kill_group
from cli.launcher.settings import LauncherSettings
from cli.launcher.state import ProcessState, read_state
from replicas.identity import read

STOP_REPLICAS_SECONDS_MAX = 60


def stop_leftovers(settings: LauncherSettings, environment: Mapping[str, str]) -> list[str]:
    """Stops the processes of a launcher that is gone; returns their names. The lock must be held.

    Nothing but a process whose pid and start are both written down is touched.
    """
    state = read_state(settings.state_file)
    left = {name: process for name, process in state.processes.items() if process.alive()} if state else {}
    for process in left.values():
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + settings.stop_seconds_max
    for name, process in left.items():
        _await_end(process, until, has_group=name != "agent")
    replicas = running_replicas(settings)
    stop_replicas(settings, environment)
    settings.state_file.unlink(missing_ok=True)
    return [*left, *replicas]


def running_replicas(settings: LauncherSettings) -> list[str]:
    """Ids of the replicas of this node that live now, loading ones included."""
    found = (read(path) for path in settings.run_dir.glob("*.lock"))
    return sorted(one.replica_id for one in found if one and one.node == settings.node and one.alive())


def stop_replicas(settings: LauncherSettings, environment: Mapping[str, str]) -> None:
    """Stops every replica of this node. The agent must have ended, since it would start them again."""
    if not running_replicas(settings):
        return
    command = [sys.executable, "-m", "replicas.agent", "--stop-replicas"]
    log = settings.logs / "agent.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            timeout=STOP_REPLICAS_SECONDS_MAX,
            start_new_session=True,
            check=False,
        )


def _await_end(process: ProcessState, until: float, *, has_group: bool) -> None:
    while process.alive():
        if time.monotonic() > until:
            _signal(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    if has_group:
        kill_group(process.pid)


def _signal(process: ProcessState, number: signal.Signals) -> None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # Looked at through the descriptor: from here on it is this process or none.
        if process.alive():
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
