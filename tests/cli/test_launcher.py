"""The launcher's parts: ports, lock, secrets, Valkey, children that die, leftovers. Real processes, no platform."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from cli.errors import CliError
from cli.launcher import checks, valkey
from cli.launcher.child import Child, Plan
from cli.launcher.environment import children_environment
from cli.launcher.launch import status, up, up_detached
from cli.launcher.leftovers import stop_leftovers, take_over
from cli.launcher.lock import locked
from cli.launcher.plans import GATEWAY, PREDECESSOR, platform_plans, redis_url, valkey_plan
from cli.launcher.settings import LauncherSettings, read_settings
from cli.launcher.state import PlatformState, ProcessState, read_state, write_state
from cli.launcher.supervisor import Supervisor
from replicas.identity import start_ticks

FOREVER = (sys.executable, "-c", "import time; time.sleep(600)")
SECONDS_MAX = 10.0


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LauncherSettings:
    for name in [name for name in os.environ if name.startswith("RECALL_")]:
        monkeypatch.delenv(name)
    settings = LauncherSettings(home=tmp_path / "home", run_dir=tmp_path / "sockets", stop_seconds_max=2)
    settings.make_folders()
    return settings


@pytest.fixture
def child(settings: LauncherSettings) -> Iterator[Child]:
    child = Child(Plan("sleeper", FOREVER, lambda _pid: True), dict(os.environ), settings.logs / "sleeper.log", 10_000)
    child.start()
    yield child
    child.ask_to_stop()
    child.await_stop(2)


def eventually(true: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS_MAX
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_refuses_a_port_that_is_taken_even_by_one_that_shares_it(settings: LauncherSettings) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CliError, match=rf"127.0.0.1:{port} cannot be used.*in use") as caught:
            settings.model_copy(update={"gateway_port": port, "console_port": 0}).with_free_ports()
    assert "RECALL_GATEWAY_PORT" in caught.value.remedy


def test_a_port_of_0_becomes_a_free_one(settings: LauncherSettings) -> None:
    chosen = settings.model_copy(update={"gateway_port": 0, "console_port": 0}).with_free_ports()
    assert chosen.console_port > 0
    assert chosen.gateway_port not in (0, chosen.console_port)
    assert chosen.console_address() == f"http://127.0.0.1:{chosen.console_port}"


def test_a_wrong_setting_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_CONSOLE_PORT", "eight thousand")
    with pytest.raises(CliError, match="RECALL_CONSOLE_PORT"):
        read_settings()


def test_a_wrong_setting_of_an_engine_starts_nothing(
    settings: LauncherSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "bluetypo")
    with pytest.raises(CliError, match="RECALL_MILVUS_INSTANCES: entry 1 is not a name and an address"):
        up(settings, tell=print, ready=lambda _state: pytest.fail("it is up"))
    with pytest.raises(CliError, match="RECALL_MILVUS_INSTANCES"):
        up_detached(settings, tell=print)
    assert not settings.state_file.exists()


@pytest.mark.parametrize("module", ["workers.app", "config.wsgi", "replicas.agent"])
def test_no_process_starts_with_a_wrong_setting_of_an_engine(
    module: str, settings: LauncherSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers and console as their servers import them; the agent is a program."""
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "bluetypo")
    monkeypatch.setenv("RECALL_HOME", str(settings.home))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")
    ended = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1].endswith(
        "RECALL_MILVUS_INSTANCES: entry 1 is not a name and an address, such as blue=http://10.0.0.5:19530."
    )


def test_a_second_launcher_is_told_who_holds_the_home(settings: LauncherSettings) -> None:
    with (
        locked(settings.run),
        pytest.raises(CliError, match=f"already run by process {os.getpid()}"),
        locked(settings.run),
    ):
        pytest.fail("two launchers held one RECALL_HOME")
    with locked(settings.run):
        pass  # The lock went with the first holder.


def test_secrets_are_made_once_private_and_told_by_file(settings: LauncherSettings) -> None:
    environment = children_environment(settings)
    again = children_environment(settings)

    path = Path(environment["RECALL_KEY_PEPPER_FILE"])
    assert path == settings.secrets / "key_pepper"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text()) >= 40
    assert environment == again
    assert path.read_text() not in environment.values()


def test_what_belongs_to_the_caller_stays_with_the_caller(
    settings: LauncherSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECALL_API_KEY", "rk_alicekey_secret")
    monkeypatch.setenv("RECALL_SECRET_KEY", "configured")
    environment = children_environment(settings)
    assert "RECALL_API_KEY" not in environment
    assert environment["RECALL_SECRET_KEY"] == "configured"
    assert "RECALL_SECRET_KEY_FILE" not in environment


def test_valkey_runs_with_a_password_that_no_command_line_shows(settings: LauncherSettings) -> None:
    plan = valkey_plan(settings)
    assert plan is not None
    url = redis_url(settings)
    server = Child(plan, dict(os.environ), settings.logs / "valkey.log", 10_000)
    server.start()
    try:
        eventually(lambda: checks.valkey_answers(url))
        password = (settings.secrets / "redis_password").read_text()
        for path in (settings.redis_url_file, settings.run / "valkey.conf"):
            assert path.stat().st_mode & 0o777 == 0o600
            assert password in path.read_text()
        assert password not in Path(f"/proc/{server.state.pid}/cmdline").read_text()
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.ask_to_stop()
        server.await_stop(5)


def test_valkey_keeps_its_port_and_password_after_a_restart(settings: LauncherSettings) -> None:
    valkey.prepare(settings)
    first = redis_url(settings)
    valkey.prepare(settings)
    assert redis_url(settings) == first


def test_valkey_moves_when_its_port_was_taken_meanwhile(settings: LauncherSettings) -> None:
    valkey.prepare(settings)
    first = redis_url(settings)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(first.rsplit(":", 1)[1].split("/")[0])))
        other.listen()
        valkey.prepare(settings)
    assert redis_url(settings) != first


def test_a_configured_redis_needs_no_valkey(settings: LauncherSettings) -> None:
    configured = settings.model_copy(update={"redis_url": "redis://redis:6379/0"})
    assert valkey_plan(configured) is None
    assert redis_url(configured) == "redis://redis:6379/0"


def test_no_command_binds_anything_but_loopback_and_none_shows_a_secret(settings: LauncherSettings) -> None:
    valkey.prepare(settings)
    words = [word for plan in platform_plans(settings) for word in plan.command]
    assert "127.0.0.1:8000" in words
    assert not [word for word in words if ":8000" in word and not word.startswith("127.0.0.1")]
    password = (settings.secrets / "redis_password").read_text()
    assert not [word for word in words if password in word]


def test_beat_ticks_once_it_has_left_a_sign_after_it_began(tmp_path: Path) -> None:
    schedule = tmp_path / "beat-schedule"
    assert not checks.beat_ticks(schedule, os.getpid())
    written = tmp_path / "beat-schedule.ticked"
    written.write_bytes(b"")
    assert checks.beat_ticks(schedule, os.getpid())
    hour_ago = psutil.Process().create_time() - 3600
    os.utime(written, (hour_ago, hour_ago))
    assert not checks.beat_ticks(schedule, os.getpid())
    assert not checks.beat_ticks(schedule, 2**22 + 1)


def test_a_child_that_gives_way_does_so_with_its_whole_session(settings: LauncherSettings) -> None:
    plan = Plan("worker", (sys.executable, "-c", "import time; time.sleep(600)"), lambda _pid: True, nice=10)
    child = Child(plan, dict(os.environ), settings.logs / "worker.log", 10_000)
    child.start()
    try:
        assert psutil.Process(child.state.pid).nice() == 10
        autogroup = Path(f"/proc/{child.state.pid}/autogroup")
        if autogroup.exists():  # Not every system weighs sessions.
            assert autogroup.read_text().split()[-2:] == ["nice", "10"]
    finally:
        child.ask_to_stop()
        child.await_stop(2)


def test_who_answers_calls_gives_way_to_nobody(settings: LauncherSettings) -> None:
    valkey.prepare(settings)
    nice = {plan.name: plan.nice for plan in platform_plans(settings)}
    assert {name for name, value in nice.items() if value == 0} == {"agent", "console", "gateway"}


def test_a_killed_child_is_started_again_after_a_pause(child: Child) -> None:
    first = child.state.pid
    os.kill(first, signal.SIGKILL)

    eventually(child.keep)
    assert child.state.state == "waiting"
    eventually(child.keep)

    assert child.state.state == "running"
    assert child.state.pid != first
    assert child.state.alive()
    assert child.state.restarts == 1


def test_a_child_that_dies_again_and_again_is_started_less_and_less_often(settings: LauncherSettings) -> None:
    plan = Plan("dying", (sys.executable, "-c", "raise SystemExit(1)"), lambda _pid: False)
    child = Child(plan, dict(os.environ), settings.logs / "dying.log", 10_000)
    child.start()
    begin = time.monotonic()
    while child.state.restarts < 3:
        child.keep()
        time.sleep(0.01)
        assert time.monotonic() < begin + SECONDS_MAX
    # Pauses of 0.2, 0.4 and 0.8 s came before the third new start.
    assert time.monotonic() - begin >= 1.4
    child.await_stop(2)


def test_what_a_dead_child_had_started_is_killed_with_it(settings: LauncherSettings) -> None:
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    log = settings.logs / "parent.log"
    child = Child(Plan("parent", (sys.executable, "-c", code), lambda _pid: True), dict(os.environ), log, 10_000)
    child.start()
    eventually(lambda: log.read_text().strip())
    grandchild = int(log.read_text())
    assert start_ticks(grandchild)

    os.kill(child.state.pid, signal.SIGKILL)
    eventually(child.keep)

    eventually(lambda: start_ticks(grandchild) is None)
    child.await_stop(2)


def test_a_child_that_ignores_sigterm_is_killed(settings: LauncherSettings) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    log = settings.logs / "stubborn.log"
    child = Child(Plan("stubborn", (sys.executable, "-c", code), lambda _pid: True), dict(os.environ), log, 10_000)
    child.start()
    eventually(lambda: log.read_text().strip() == "up")
    child.ask_to_stop()
    child.await_stop(0.3)
    assert not child.state.alive()
    assert child.state.state == "stopped"


def test_a_log_is_capped_when_its_child_starts(settings: LauncherSettings) -> None:
    log = settings.logs / "talker.log"
    log.write_text("x" * 50_000)
    child = Child(
        Plan("talker", (sys.executable, "-c", "print('new')"), lambda _p: True), dict(os.environ), log, 10_000
    )
    child.start()
    child.await_stop(5)
    assert log.read_text() == "new\n"
    assert log.with_name("talker.log.1").stat().st_size == 10_000


def test_a_child_that_never_gets_ready_ends_the_start_with_the_end_of_its_log(settings: LauncherSettings) -> None:
    supervisor = Supervisor(settings, dict(os.environ))
    dying = Plan("dying", (sys.executable, "-c", "raise SystemExit('no such thing')"), lambda _pid: False)
    supervisor.start([dying, Plan("sleeper", FOREVER, lambda _pid: True)])
    try:
        with pytest.raises(CliError, match="dying ends again and again") as caught:
            supervisor.await_ready(lambda _text: None)
    finally:
        supervisor.stop(between=lambda: None)
    assert "no such thing" in caught.value.appendix
    assert read_state(settings.state_file) is None


def test_the_state_file_is_private_and_names_every_process(settings: LauncherSettings) -> None:
    supervisor = Supervisor(settings, dict(os.environ))
    supervisor.start([Plan("sleeper", FOREVER, lambda _pid: True)])
    try:
        supervisor.await_ready(lambda _text: None)
        state = read_state(settings.state_file)
        assert state is not None
        assert settings.state_file.stat().st_mode & 0o777 == 0o600
        assert state.launcher_alive()
        assert state.processes["sleeper"].alive()
        assert state.processes["sleeper"].state == "running"
    finally:
        supervisor.stop(between=lambda: None)
    assert not state.processes["sleeper"].alive()


def test_leftovers_of_a_killed_launcher_are_stopped_and_strangers_are_not(settings: LauncherSettings) -> None:
    left = subprocess.Popen(FOREVER, start_new_session=True)
    stranger = subprocess.Popen(FOREVER, start_new_session=True)
    try:
        state = PlatformState(1, -1, "ready", "", "", "")
        state.processes["console"] = ProcessState(left.pid, start_ticks(left.pid) or 0, "running")
        # The pid is somebody else's by now: the start differs.
        state.processes["gateway"] = ProcessState(stranger.pid, 1, "running")
        write_state(settings.state_file, state)
        assert status(settings).state == "leftovers"

        assert stop_leftovers(settings, dict(os.environ)) == ["console"]

        assert left.wait(5) == -signal.SIGTERM
        assert stranger.poll() is None
        assert status(settings).state == "stopped"
    finally:
        for process in (left, stranger):
            process.kill()
            process.wait()


# Listens on the port of its first argument. Asked to stop, it lets go of the port at once and ends a while later.
LISTEN = """
import signal, socket, sys, time
port = socket.socket()
port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
port.bind(("127.0.0.1", int(sys.argv[1])))
port.listen()
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(port.close()))
while not asked:
    time.sleep(0.01)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(command, start_new_session=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def written(process: subprocess.Popen[bytes]) -> ProcessState:
    return ProcessState(process.pid, start_ticks(process.pid) or 0, "running")


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_serves_is_taken_over_and_stays_written_down(
    settings: LauncherSettings, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    console, gateway = started(*FOREVER), started(*FOREVER)
    state = PlatformState(1, -1, "ready", "", "", "127.0.0.1:50051")
    state.processes |= {"console": written(console), GATEWAY: written(gateway)}
    write_state(settings.state_file, state)

    left = take_over(settings)

    assert (left.stopped, left.replicas, left.gateway_port) == (["console"], [], 50051)
    assert console.wait(5) == -signal.SIGTERM
    assert gateway.poll() is None
    # Whatever becomes of this launcher, the next one and `recall down` know of it.
    assert status(settings).state == "leftovers"
    assert stop_leftovers(settings, dict(os.environ)) == [GATEWAY]


def test_of_two_gateways_that_a_launcher_left_while_it_took_over_the_newer_serves(
    settings: LauncherSettings, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    older, newer = started(*FOREVER), started(*FOREVER)
    state = PlatformState(1, -1, "starting", "", "", "127.0.0.1:50051")
    state.processes |= {PREDECESSOR: written(older), GATEWAY: written(newer)}
    write_state(settings.state_file, state)
    left = take_over(settings)
    assert (left.stopped, left.gateway) == ([PREDECESSOR], state.processes[GATEWAY])

    newer.kill()
    newer.wait()
    alone = started(*FOREVER)
    state.processes |= {PREDECESSOR: written(alone)}
    write_state(settings.state_file, state)
    left = take_over(settings)
    assert (left.stopped, left.gateway) == ([], state.processes[PREDECESSOR])


def test_a_port_that_the_gateway_before_still_holds_is_no_fault(
    settings: LauncherSettings,
) -> None:
    with socket.socket() as gateway:
        gateway.bind(("127.0.0.1", 0))
        gateway.listen()
        port = gateway.getsockname()[1]
        wanted = settings.model_copy(update={"gateway_port": port, "console_port": 0})
        assert wanted.with_free_ports(held=port).gateway_port == port
        assert not wanted.gateway_port_is_free()
        with pytest.raises(CliError, match="in use"):
            wanted.with_free_ports(held=port + 1)
    assert wanted.gateway_port_is_free()


def test_a_gateway_takes_its_predecessors_place_as_soon_as_the_port_is_free(
    settings: LauncherSettings, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    settings = settings.model_copy(update={"gateway_port": 0, "console_port": 0}).with_free_ports()
    port = settings.gateway_port
    before = started(sys.executable, "-c", LISTEN, str(port), "1.5")
    eventually(lambda: is_listening(port))
    supervisor = Supervisor(settings, dict(os.environ), predecessor=written(before))
    told: list[str] = []
    during: list[tuple[int | None, set[str]]] = []

    def ready(_pid: int) -> bool:
        state = read_state(settings.state_file)
        during.append((before.poll(), set(state.processes) if state else set()))
        return is_listening(port)

    plan = Plan(GATEWAY, (sys.executable, "-c", LISTEN, str(port), "0"), ready)
    try:
        supervisor.succeed([plan], told.append)
        # The new one served before the old one had ended, and both were written down until then.
        assert during[-1] == (None, {PREDECESSOR, GATEWAY})
        assert before.wait(0) == 0
        assert list(supervisor.state.processes) == [GATEWAY]
        assert supervisor.state.processes[GATEWAY].restarts == 0
        assert len(told) == 1
    finally:
        supervisor.stop(between=lambda: None)


def test_a_launcher_that_fails_before_it_took_over_leaves_nothing_behind(
    settings: LauncherSettings, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    before = started(*FOREVER)
    supervisor = Supervisor(settings, dict(os.environ), predecessor=written(before))
    supervisor.stop(between=lambda: None)
    assert before.wait(5) == -signal.SIGTERM
    assert read_state(settings.state_file) is None
