"""Starts the children, keeps them running, stops them; writes down what runs after every change."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from cli.errors import CliError
from cli.launcher.child import POLL_SECONDS, Child, Plan
from cli.launcher.leftovers import ask_to_stop, await_end
from cli.launcher.plans import PREDECESSOR
from cli.launcher.settings import LauncherSettings
from cli.launcher.state import PlatformState, ProcessState, write_state
from replicas.identity import start_ticks

WATCH_SECONDS = 0.1
# A child that died so often before it was ready will not get better.
DEATHS_BEFORE_READY_MAX = 2

Tell = Callable[[str], None]


class Interrupted(Exception):
    """Ctrl-C or SIGTERM came before everything was ready."""


class Supervisor:
    """The launcher's children. Single-threaded: everything happens in `run` or before it."""

    def __init__(
        self, settings: LauncherSettings, environment: Mapping[str, str], predecessor: ProcessState | None = None
    ) -> None:
        """`predecessor`: the gateway of an earlier launcher, which serves until `succeed`, or until all is stopped."""
        self._settings = settings
        self._environment = environment
        self._children: list[Child] = []
        self._predecessor = predecessor
        self._stop = threading.Event()
        self.state = PlatformState(
            pid=os.getpid(),
            started_ticks=start_ticks(os.getpid()) or 0,
            state="starting",
            console_url=settings.console_address(),
            api_url=f"{settings.console_address()}/api/v1",
            gateway=settings.gateway_address(),
            processes={PREDECESSOR: predecessor} if predecessor else {},
        )

    def listen(self) -> None:
        """From here on SIGTERM, SIGINT and SIGHUP ask to stop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def start(self, plans: Sequence[Plan]) -> None:
        for plan in plans:
            log = self._settings.logs / f"{plan.name}.log"
            child = Child(plan, self._environment, log, self._settings.log_bytes_max)
            self._children.append(child)
            self.state.processes[plan.name] = child.state
            child.start()
        self._write()

    def await_ready(self, tell: Tell) -> None:
        """Until every child is ready; tells of each with the seconds it took.

        Raises CliError with the end of the log of a child that does not get ready, and Interrupted.
        """
        begin = time.monotonic()
        waiting = [child for child in self._children if child.state.state != "running"]
        while waiting:
            child = waiting[0]
            if child.is_ready():
                child.state.state = "running"
                waiting.remove(child)
                self._write()
                tell(f"{child.plan.name} is ready ({time.monotonic() - begin:.1f} s)")
            else:
                self._check_start(child, time.monotonic() - begin)

    def succeed(self, plans: Sequence[Plan], tell: Tell) -> None:
        """Starts these in place of the predecessor, as soon as that has let go of its port; raises as `await_ready`.

        The predecessor ends beside them: its last calls may take their time.
        """
        until = self._dismiss()
        while self.has_predecessor and not self._settings.gateway_port_is_free():
            if time.monotonic() > until:
                self._bury_predecessor(until)
            if self._stop.wait(POLL_SECONDS):
                raise Interrupted
        self.start(plans)
        self.await_ready(tell)
        self._bury_predecessor(until)

    def run(self) -> None:
        """Until a signal asks to stop: whatever dies is started again."""
        self.state.state = "ready"
        self._write()
        while not self._stop.wait(WATCH_SECONDS):
            self._keep()

    def stop(self, between: Callable[[], None]) -> None:
        """Stops the children, latest stage first; `between` runs before the first stage is stopped, the last one."""
        self.state.state = "stopping"
        self._write()
        self._bury_predecessor(self._dismiss())
        stages = sorted({child.plan.stage for child in self._children}, reverse=True)
        for stage in stages:
            if stage == 0:
                between()
            self._stop_stage([child for child in reversed(self._children) if child.plan.stage == stage])
        if 0 not in stages:
            between()
        self._settings.state_file.unlink(missing_ok=True)

    @property
    def interrupted(self) -> bool:
        return self._stop.is_set()

    @property
    def has_predecessor(self) -> bool:
        return self._predecessor is not None and self._predecessor.alive()

    def _check_start(self, child: Child, seconds: float) -> None:
        self._keep()
        if self._stop.wait(WATCH_SECONDS):
            raise Interrupted
        dying = [one for one in self._children if one.state.restarts >= DEATHS_BEFORE_READY_MAX]
        if dying or seconds > self._settings.start_seconds_max:
            child = dying[0] if dying else child
            how = "ends again and again" if dying else f"is not ready after {seconds:.0f} s"
            raise CliError(f"{child.plan.name} {how}.", remedy=f"See {child.state.log}.", appendix=child.log_tail())

    def _keep(self) -> None:
        changed = [child.keep() for child in self._children]
        if any(changed):
            self._write()

    def _dismiss(self) -> float:
        """Asks the predecessor to stop, if there is one; returns until when (of time.monotonic()) it may take."""
        if self._predecessor is not None:
            ask_to_stop(self._predecessor)
        return time.monotonic() + self._settings.stop_seconds_max

    def _bury_predecessor(self, until: float) -> None:
        if self._predecessor is None:
            return
        await_end(self._predecessor, until, has_group=True)
        self._predecessor = None
        del self.state.processes[PREDECESSOR]
        self._write()

    def _stop_stage(self, children: list[Child]) -> None:
        for child in children:
            child.ask_to_stop()
        until = time.monotonic() + self._settings.stop_seconds_max
        for child in children:
            child.await_stop(max(0.0, until - time.monotonic()))
        self._write()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _write(self) -> None:
        write_state(self._settings.state_file, self.state)
