"""What a killed launcher left running is found by launcher.json and by the replicas' lock files.

`recall down` stops all of it. The next `recall up` stops what does not serve and starts it anew; the replicas it leaves
to its agent, which adopts them, and the gateway goes on until all else stands and its successor takes its port.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cli.launcher.child import POLL_SECONDS, kill_group
from cli.launcher.plans import AGENT, GATEWAY, PREDECESSOR
from cli.launcher.settings import LauncherSettings
from cli.launcher.state import PlatformState, ProcessState, read_state, write_state
from replicas.identity import read

STOP_REPLICAS_SECONDS_MAX = 60


@dataclass(frozen=True)
class Leftovers:
    """Names of what was `stopped`; what goes on: ids of `replicas`, and the `gateway`, which has `gateway_port`."""

    stopped: list[str]
    replicas: list[str]
    gateway: ProcessState | None = None
    gateway_port: int | None = None


def stop_leftovers(settings: LauncherSettings, environment: Mapping[str, str]) -> list[str]:
    """Stops the processes of a launcher that is gone; returns their names. The lock must be held.

    Nothing but a process whose pid and start are both written down is touched.
    """
    left = _alive(read_state(settings.state_file))
    _stop(left, settings.stop_seconds_max)
    replicas = running_replicas(settings)
    stop_replicas(settings, environment)
    settings.state_file.unlink(missing_ok=True)
    return [*left, *replicas]


def take_over(settings: LauncherSettings) -> Leftovers:
    """The same, but for what serves, which stays written down. The lock must be held."""
    state = read_state(settings.state_file)
    left = _alive(state)
    # A launcher that was killed while it took over has left two, of which the newer serves.
    gateway = left.pop(GATEWAY, None) or left.pop(PREDECESSOR, None)
    _stop(left, settings.stop_seconds_max)
    replicas = running_replicas(settings)
    if state is None or gateway is None:
        settings.state_file.unlink(missing_ok=True)
        return Leftovers([*left], replicas)
    write_state(settings.state_file, replace(state, processes={GATEWAY: gateway}))
    return Leftovers([*left], replicas, gateway, int(state.gateway.rpartition(":")[2]))


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


def ask_to_stop(process: ProcessState) -> None:
    """SIGTERM, for a process that another launcher started."""
    _signal(process, signal.SIGTERM)


def await_end(process: ProcessState, until: float, *, has_group: bool) -> None:
    """Waits; what is still there at `until` (of time.monotonic()) is killed, its group too when that is its own."""
    while process.alive():
        if time.monotonic() > until:
            _signal(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    if has_group:
        kill_group(process.pid)


def _alive(state: PlatformState | None) -> dict[str, ProcessState]:
    return {name: process for name, process in state.processes.items() if process.alive()} if state else {}


def _stop(left: Mapping[str, ProcessState], seconds_max: float) -> None:
    for process in left.values():
        ask_to_stop(process)
    until = time.monotonic() + seconds_max
    for name, process in left.items():
        await_end(process, until, has_group=name != AGENT)


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
