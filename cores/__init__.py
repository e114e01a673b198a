"""Whether the machine's cores are wanted by somebody else: a leaf, for whoever would rather wait awake than asleep."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOAD = Path("/proc/loadavg")
LOAD_BYTES_MAX = 128
# A look at the load takes the kernel 2 us.
LOOK_EVERY_SECONDS = 0.000_025
# Who hands a call over from thread to thread has some of them runnable at once, as gRPC's: so many above the number of
# cores are seen with a single caller for a part of each call, and longer than some looks in a row only with others.
SPARE_THREADS = 2
LOOKS_IN_A_ROW_MAX = 10
# Who noticed that they are wanted leaves them to others for so long.
REST_SECONDS = 0.01


class Cores:
    """As one thread sees them; the kernel counts the threads of all processes.

    Where the kernel does not tell, they count as wanted.
    """

    def __init__(self, load: Path = LOAD, count: int | None = None) -> None:
        self._count = count or os.cpu_count() or 1
        try:
            self._load: int | None = os.open(load, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._load = None
        self._looks_in_a_row = 0
        self._look_at = self._rest_until = 0.0

    def are_free(self, now: float) -> bool:
        """Whether who waits may go on waiting awake. `now` is of time.monotonic(), and rises."""
        if now < self._rest_until:
            return False
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_SECONDS
            self._looks_in_a_row = self._looks_in_a_row + 1 if self._running() > self._count + SPARE_THREADS else 0
            if self._looks_in_a_row > LOOKS_IN_A_ROW_MAX:
                self._looks_in_a_row = 0
                self._rest_until = time.monotonic() + REST_SECONDS
                return False
        return True

    def __del__(self) -> None:
        if self._load is not None:
            os.close(self._load)

    def _running(self) -> int:
        """Threads that have a core or want one: of "0.5 0.4 0.3 2/517 30302" the 2."""
        if self._load is None:
            return self._count + SPARE_THREADS + 1
        return int(os.pread(self._load, LOAD_BYTES_MAX, 0).split(b" ", 4)[3].partition(b"/")[0])
