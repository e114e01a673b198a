"""Waiting for a lone caller's next question awake, instead of asleep.

Who asks one question after the other has the next one soon after the answer, and to wake a sleeping core costs a large
part of what an answer costs (docs/adr/0020). So whoever serves a connection looks for its next question for a moment,
again and again, before it sleeps. It does so only where a question is expected, and where nobody else wants the core.
As in Seastar and in DPDK's drivers, with a bound.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

# Between two looks pass some microseconds. When so many do, somebody else has had the core, or the interpreter.
TAKEN_SECONDS = 0.000_3
# After that it is left to them for so long.
REST_SECONDS = 0.01


class Poller:
    """Of one connection, and so of one thread. `is_alone`: nothing else is under way in this process."""

    def __init__(self, connection: socket.socket, seconds_max: float, is_alone: Callable[[], bool]) -> None:
        self._connection = connection
        self._seconds_max = seconds_max
        self._is_alone = is_alone
        self._expects_soon = False
        self._rests_until = 0.0

    def receive(self, bytes_max: int) -> bytes:
        """What comes first, however long that takes; empty at the connection's end. Raises OSError."""
        began = time.monotonic()
        # One that comes after a pause would be looked for in vain each time.
        received = self._looked_for(bytes_max, began) if self._expects_soon and began >= self._rests_until else None
        if received is None:
            received = self._connection.recv(bytes_max)
        self._expects_soon = time.monotonic() - began < self._seconds_max
        return received

    def _looked_for(self, bytes_max: int, began: float) -> bytes | None:
        """None when nothing came in time, or the time is better spent by others."""
        looked = began
        while looked - began < self._seconds_max and self._is_alone():
            try:
                return self._connection.recv(bytes_max, socket.MSG_DONTWAIT)
            except BlockingIOError:
                now = time.monotonic()
            if now - looked > TAKEN_SECONDS:
                self._rests_until = now + REST_SECONDS
                break
            looked = now
        return None
