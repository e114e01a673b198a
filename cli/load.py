"""A steady load of recall calls, and what came of them.

Open loop: calls start on a clock and never wait for each other, and a call's time counts from when it was due, so that
a stall shows as late calls and not as fewer of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recall_client import Answer, AsyncClient

TICK_SECONDS = 0.001
# More than this under way at once: the load is above what is served, and further calls are counted as not sent.
CALLS_UNDER_WAY_MAX = 2_000
DRAIN_SECONDS_MAX = 10.0
PERCENTILES = (50, 90, 99, 99.9)


@dataclass
class LoadResult:
    """`latencies_ms` of the calls that were answered; `versions`: answers by the version that gave them."""

    sent: int = 0
    not_sent: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def percentiles_ms(self) -> dict[str, float]:
        """p50, p90, p99, p99.9 and max; empty when nothing was answered."""
        if not self.latencies_ms:
            return {}
        values = np.percentile(self.latencies_ms, PERCENTILES)
        named = {f"p{percent:g}": round(float(value), 3) for percent, value in zip(PERCENTILES, values, strict=True)}
        return {**named, "max": round(max(self.latencies_ms), 3)}


async def run_load(
    client: AsyncClient,
    queries: np.ndarray,
    *,
    qps: float,
    top_k: int,
    until: Callable[[], bool],
    result: LoadResult,
    answered: Callable[[Answer], None] | None = None,
    **options: Any,
) -> None:
    """Sends `qps` calls a second, with the rows of `queries` [n, d] in turn, until `until()`; then awaits the rest.

    `answered` hears every answer.
    """
    calls: set[asyncio.Task[None]] = set()
    begin, due = time.perf_counter(), 0
    while not until():
        now_due = int((time.perf_counter() - begin) * qps)
        for number in range(due, now_due):
            if len(calls) >= CALLS_UNDER_WAY_MAX:
                result.not_sent += 1
                continue
            query = queries[number % len(queries)]
            call = asyncio.create_task(_call(client, query, begin + number / qps, top_k, result, answered, options))
            calls.add(call)
            call.add_done_callback(calls.discard)
        due = now_due
        await asyncio.sleep(TICK_SECONDS)
    if calls:
        await asyncio.wait(calls, timeout=DRAIN_SECONDS_MAX)


async def _call(
    client: AsyncClient,
    query: np.ndarray,
    due_at: float,
    top_k: int,
    result: LoadResult,
    answered: Callable[[Answer], None] | None,
    options: dict[str, Any],
) -> None:
    from recall_client import RecallError

    result.sent += 1
    try:
        answer = await client.recall(query, top_k=top_k, **options)
    except RecallError as error:
        result.failures[error.reason or type(error).__name__] += 1
    else:
        result.latencies_ms.append((time.perf_counter() - due_at) * 1000)
        result.versions[answer.version] += 1
        if answered:
            answered(answer)
