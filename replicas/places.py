"""The places for work on calls: quick calls and costly ones have their own, so that neither waits for the other.

What they share is the machine. So while quick calls come, costly ones leave one of their places empty; who wants it
then finds a core that is free, or soon will be. When no quick call has come for a while, they have all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from enum import Enum
from queue import Empty, SimpleQueue

# After so long without a quick call, costly ones may have every place.
QUIET_SECONDS = 0.1


class Lane(Enum):
    """What kind of call one is, as who asks has priced it."""

    QUICK = "quick"
    COSTLY = "costly"


class Places:
    """`count` in each lane. Whoever comes for a costly one is served in order. Of any thread."""

    def __init__(self, count: int) -> None:
        self._count = count
        # A token for each place: a queue hands one over in C, which a semaphore does in Python.
        self._quick: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self._quick.put(None)
        self._quick_at = -QUIET_SECONDS
        self._changed = threading.Condition()
        self._line: deque[object] = deque()
        self._costly = 0

    def take(self, lane: Lane, seconds_max: float) -> bool:
        """Waits for a place; False when there was none in that time."""
        if lane is Lane.COSTLY:
            return self._take_costly(seconds_max)
        self._quick_at = time.monotonic()
        try:
            self._quick.get(timeout=min(max(seconds_max, 0.0), threading.TIMEOUT_MAX))
        except Empty:
            return False
        return True

    def give_back(self, lane: Lane) -> None:
        if lane is Lane.QUICK:
            self._quick_at = time.monotonic()
            self._quick.put(None)
            return
        with self._changed:
            self._costly -= 1
            self._changed.notify_all()

    def _take_costly(self, seconds_max: float) -> bool:
        give_up_at = time.monotonic() + seconds_max
        mine = object()
        with self._changed:
            self._line.append(mine)
            try:
                while self._line[0] is not mine or self._costly >= self._costly_max():
                    seconds_left = give_up_at - time.monotonic()
                    if seconds_left <= 0:
                        return False
                    # Nobody tells when quick calls have ceased.
                    self._changed.wait(min(seconds_left, QUIET_SECONDS))
                self._costly += 1
            finally:
                self._line.remove(mine)
                self._changed.notify_all()
        return True

    def _costly_max(self) -> int:
        quiet = time.monotonic() - self._quick_at >= QUIET_SECONDS
        return self._count if quiet else max(1, self._count - 1)
