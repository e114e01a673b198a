"""Calls that go on while versions change, and what they saw."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from cli.load import LoadResult, run_load

if TYPE_CHECKING:
    import numpy as np

    from recall_client import Answer

QPS = 100
TOP_K = 10
DEADLINE_MS = 2_000
STOP_SECONDS_MAX = 15
POLL_SECONDS = 0.002


class Traffic:
    """A steady load in a thread of its own. Use as a context manager.

    `wrong`: answers with an item that the version they name does not hold. `holds`: version -> ids; a version that is
    not in it yet is not judged.
    """

    def __init__(self, *, target: str, key: str, service: str, queries: np.ndarray) -> None:
        self.result = LoadResult()
        self.wrong = 0
        self.holds: dict[int, frozenset[int]] = {}
        self._target, self._key, self._service, self._queries = target, key, service, queries
        self._newest: tuple[int, float] = (0, 0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_SECONDS_MAX)

    def seconds_until(self, version: int, *, since: float, seconds_max: float) -> float | None:
        """From `since` (time.monotonic) to an answer of `version`; None when there is none in time."""
        while time.monotonic() < since + seconds_max:
            answering, began = self._newest
            if answering == version:
                return max(0.0, began - since)
            time.sleep(POLL_SECONDS)
        return None

    def _heard(self, answer: Answer) -> None:
        if answer.version != self._newest[0]:
            self._newest = (answer.version, time.monotonic())
        held = self.holds.get(answer.version)
        if held is not None and not held.issuperset(answer.ids.tolist()):
            self.wrong += 1

    async def _run(self) -> None:
        from recall_client import AsyncClient

        async with AsyncClient(self._target, self._key, service=self._service, deadline_ms=DEADLINE_MS) as client:
            await run_load(
                client,
                self._queries,
                qps=QPS,
                top_k=TOP_K,
                until=self._stop.is_set,
                result=self.result,
                answered=self._heard,
            )
