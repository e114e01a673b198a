"""Waiting for a lone question's reply awake, instead of asleep.

While one question is under way and nothing else is, the event loop goes round without sleeping, so that the reply finds
a core that is awake (docs/adr/0020; `replicas/polling.py` is the other end). Whatever else arrives is met by the same
rounds and at once. It does so for a bounded time, and while cores are free.
"""

from __future__ import annotations

import asyncio
import time

from cores import Cores


class Poller:
    """Of one event loop. `with poller:` around the wait for a reply."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._cores = Cores()
        self._under_way = 0
        self._goes_round = False
        self._until = 0.0

    def __enter__(self) -> None:
        self._under_way += 1
        if self._under_way == 1 and self._seconds_max:
            self._until = time.monotonic() + self._seconds_max
            if not self._goes_round:
                self._go_round()

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1

    def _go_round(self) -> None:
        now = time.monotonic()
        # Of two questions the second one's arrival or the first one's reply wakes the core soon enough.
        self._goes_round = self._under_way == 1 and now < self._until and self._cores.are_free(now)
        if self._goes_round:
            asyncio.get_running_loop().call_soon(self._go_round)
