"""Waiting for a lone caller's next question awake, instead of asleep.

Who asks one question after the other has the next one soon after the answer, and to wake a sleeping core costs a large
part of what an answer costs (docs/adr/0020). So whoever serves a connection looks for its next question for a moment,
again and again, before it sleeps. It does so only where a question is expected, where no other connection has asked of
late, and while cores are free. As in Seastar and in DPDK's drivers, with a bound.
"""

from __future__ import annotations

import socket
import time

from cores import Cores

# Who looks has the interpreter nearly all the time, and another connection's thread would wait for it.
ALONE_SECONDS = 0.05


class Lines:
    """Which of a process's connections asked last, and since when it has been the only one that asks. Of any thread."""

    def __init__(self) -> None:
        self._cores = Cores()
        self._last: Poller | None = None
        self._since = 0.0

    def asked(self, line: Poller, now: float) -> None:
        if line is not self._last:
            self._last, self._since = line, now

    def may_look(self, line: Poller, now: float) -> bool:
        """Never two at once, so that the cores are looked at by one thread at a time."""
        return line is self._last and now - self._since >= ALONE_SECONDS and self._cores.are_free(now)


class Poller:
    """Of one connection, and so of one thread."""

    def __init__(self, connection: socket.socket, seconds_max: float, lines: Lines) -> None:
        self._connection = connection
        self._seconds_max = seconds_max
        self._lines = lines
        self._expects_soon = False

    def receive(self, bytes_max: int) -> bytes:
        """What comes first, however long that takes; empty at the connection's end. Raises OSError."""
        began = time.monotonic()
        # One that comes after a pause would be looked for in vain each time.
        received = self._looked_for(bytes_max, began) if self._expects_soon else None
        if received is None:
            received = self._connection.recv(bytes_max)
        now = time.monotonic()
        self._expects_soon = now - began < self._seconds_max
        self._lines.asked(self, now)
        return received

    def _looked_for(self, bytes_max: int, began: float) -> bytes | None:
        """None when nothing came in time, or the time is better spent by others."""
        now = began
        while now - began < self._seconds_max and self._lines.may_look(self, now):
            try:
                return self._connection.recv(bytes_max, socket.MSG_DONTWAIT)
            except BlockingIOError:
                now = time.monotonic()
        return None
