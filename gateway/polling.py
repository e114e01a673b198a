"""Waiting for a lone question's reply awake, instead of asleep.

While one question is under way and nothing else is, the event loop goes round without sleeping, so that the reply finds
a core that is awake (docs/adr/0020; `replicas/polling.py` is the other end). Whatever else arrives is met by the same
rounds and at once. It does so for a bounded time, and only where nobody else wants the core.
"""

from __future__ import annotations

import asyncio
import time

# The rounds may take their time, as with a call that has just come; but when the thread had not the core for so long,
# somebody else did.
TAKEN_SECONDS = 0.000_3
# After that it is left to them for so long.
REST_SECONDS = 0.01


class Poller:
    """Of one event loop. `with poller:` around the wait for a reply."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._under_way = 0
        self._goes_round = False
        self._until = 0.0
        self._rests_until = 0.0
        self._looked = 0.0
        self._worked = 0.0

    def __enter__(self) -> None:
        self._under_way += 1
        now = time.monotonic()
        self._until = now + self._seconds_max
        if self._under_way == 1 and not self._goes_round and self._seconds_max and now >= self._rests_until:
            self._goes_round = True
            self._looked, self._worked = now, time.thread_time()
            asyncio.get_running_loop().call_soon(self._go_round)

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1

    def _go_round(self) -> None:
        now, worked = time.monotonic(), time.thread_time()
        if (now - self._looked) - (worked - self._worked) > TAKEN_SECONDS:
            self._rests_until = now + REST_SECONDS
        self._looked, self._worked = now, worked
        # Of two questions the second one's arrival or the first one's reply wakes the core soon enough.
        self._goes_round = self._under_way == 1 and now < self._until and now >= self._rests_until
        if self._goes_round:
            asyncio.get_running_loop().call_soon(self._go_round)
