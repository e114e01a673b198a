"""`recall up`, `down` and `status`, as functions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.errors import ERROR_PREFIX, EXIT_FAILED, EXIT_UNREACHABLE, CliError
from cli.launcher.child import POLL_SECONDS
from cli.launcher.environment import children_environment
from cli.launcher.leftovers import Leftovers, running_replicas, stop_leftovers, stop_replicas, take_over
from cli.launcher.lock import locked
from cli.launcher.plans import GATEWAY, platform_plans, valkey_plan
from cli.launcher.settings import LauncherSettings, check_engines
from cli.launcher.state import PlatformState, read_state
from cli.launcher.supervisor import Interrupted, Supervisor, Tell
from replicas.logs import cap_log

MIGRATE_SECONDS_MAX = 120
MIGRATE_CHARACTERS_MAX = 2_000
# Beyond the stop of every stage: replicas drain, too.
DOWN_SECONDS_EXTRA = 60
PRIVATE_UMASK = 0o077


def up(settings: LauncherSettings, *, tell: Tell, ready: Callable[[PlatformState], None]) -> None:
    """Runs the platform until SIGTERM or Ctrl-C. Calls `ready` once everything answers."""
    check_engines()
    os.umask(PRIVATE_UMASK)
    settings.make_folders()
    with locked(settings.run):
        left = take_over(settings)
        _tell_of(left, tell)
        settings = settings.with_free_ports(held=left.gateway_port)
        environment = children_environment(settings)
        supervisor = Supervisor(settings, environment, predecessor=left.gateway)
        supervisor.listen()
        try:
            _start(settings, supervisor, environment, tell)
            ready(supervisor.state)
            supervisor.run()
        except Interrupted:
            tell("interrupted")
        finally:
            tell("stopping")
            supervisor.stop(between=lambda: stop_replicas(settings, environment))


def up_detached(settings: LauncherSettings, *, tell: Tell) -> PlatformState:
    """Starts a launcher in a session of its own and returns when the platform is ready. Raises CliError."""
    check_engines()
    settings.make_folders()
    log = settings.logs / "launcher.log"
    cap_log(log, settings.log_bytes_max)
    told = log.stat().st_size if log.exists() else 0
    launcher = _spawn_launcher(settings, log)
    try:
        return _await_launcher(settings, launcher, log, told, tell)
    except BaseException:
        # Nobody waits for it any more, so it shall not go on alone.
        launcher.terminate()
        raise


def down(settings: LauncherSettings, *, tell: Tell) -> None:
    """Stops the platform: through its launcher when that lives, else what it left. Raises CliError if nothing runs."""
    state = read_state(settings.state_file)
    if state is not None and state.launcher_alive():
        _stop_launcher(settings, state, tell)
        return
    if not settings.run.is_dir() or (state is None and not running_replicas(settings)):
        raise CliError(f"No platform runs in {settings.home}.", exit_code=EXIT_UNREACHABLE)
    with locked(settings.run):
        left = stop_leftovers(settings, children_environment(settings))
    tell(f"the launcher was gone; stopped what it left: {', '.join(left) or 'nothing'}")


@dataclass(frozen=True)
class Status:
    """`state`: ready, starting, stopping; degraded when a process is missing; leftovers without a launcher; stopped."""

    state: str
    platform: PlatformState | None
    replicas: list[str]


def status(settings: LauncherSettings) -> Status:
    platform = read_state(settings.state_file)
    replicas = running_replicas(settings)
    if platform is None or not platform.launcher_alive():
        left = replicas or (platform and any(process.alive() for process in platform.processes.values()))
        return Status("leftovers" if left else "stopped", platform if left else None, replicas)
    missing = any(not process.alive() for process in platform.processes.values())
    return Status("degraded" if missing and platform.state == "ready" else platform.state, platform, replicas)


def _start(settings: LauncherSettings, supervisor: Supervisor, environment: Mapping[str, str], tell: Tell) -> None:
    valkey = valkey_plan(settings)
    if valkey:
        supervisor.start([valkey])
        supervisor.await_ready(tell)
    plans = platform_plans(settings)
    # Callers shall miss the gateway for no longer than its successor takes to start.
    successors = [plan for plan in plans if plan.name == GATEWAY and supervisor.has_predecessor]
    # The data plane reads no table, so it starts while they are made.
    supervisor.start([plan for plan in plans if not plan.needs_tables and plan not in successors])
    migrate(environment)
    if supervisor.interrupted:
        raise Interrupted
    supervisor.start([plan for plan in plans if plan.needs_tables])
    supervisor.await_ready(tell)
    if successors:
        supervisor.succeed(successors, tell)


def _tell_of(left: Leftovers, tell: Tell) -> None:
    if left.stopped:
        tell(f"stopped what an earlier launcher left: {', '.join(left.stopped)}")
    serving = [f"replica {each}" for each in left.replicas] + ([GATEWAY] if left.gateway else [])
    if serving:
        tell(f"goes on serving meanwhile: {', '.join(serving)}")


def migrate(environment: Mapping[str, str]) -> None:
    """Brings the database to this version's tables. Raises CliError with the end of what Django said."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--noinput", "--skip-checks", "--verbosity", "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=MIGRATE_SECONDS_MAX,
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise CliError("The database could not be migrated.", appendix=said[-MIGRATE_CHARACTERS_MAX:])


def _stop_launcher(settings: LauncherSettings, state: PlatformState, tell: Tell) -> None:
    tell(f"stopping the platform (launcher {state.pid})")
    os.kill(state.pid, signal.SIGTERM)
    until = time.monotonic() + 3 * settings.stop_seconds_max + DOWN_SECONDS_EXTRA
    while state.launcher_alive():
        if time.monotonic() > until:
            raise CliError(
                f"The launcher {state.pid} does not stop.", remedy="`kill -9` it and run `recall down` again."
            )
        time.sleep(POLL_SECONDS)


def _spawn_launcher(settings: LauncherSettings, log: Path) -> subprocess.Popen[bytes]:
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "RECALL_HOME": str(settings.home), "PYTHONSAFEPATH": "1", "NO_COLOR": "1"},
            start_new_session=True,
        )


def _await_launcher(
    settings: LauncherSettings, launcher: subprocess.Popen[bytes], log: Path, told: int, tell: Tell
) -> PlatformState:
    refusal = f"The platform did not start. See {log}."
    while True:
        ended = launcher.poll() is not None
        lines, told = _new_lines(log, told)
        for line in lines:
            if line.startswith(ERROR_PREFIX):
                refusal = line.removeprefix(ERROR_PREFIX)
            else:
                tell(line)
        state = read_state(settings.state_file)
        if state and state.pid == launcher.pid and state.state == "ready":
            return state
        if ended:
            raise CliError(refusal, exit_code=launcher.returncode or EXIT_FAILED)
        time.sleep(POLL_SECONDS)


def _new_lines(log: Path, position: int) -> tuple[list[str], int]:
    """Whole lines behind `position`, and where the next one begins."""
    with log.open("rb") as file:
        file.seek(position)
        whole, newline, _ = file.read().rpartition(b"\n")
    return whole.decode(errors="replace").splitlines(), position + len(whole) + len(newline)
