"""Steady calls from several callers at once, for tests of what must not disturb them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from recallpb.v1 import recall_pb2
from tests.gateway.harness import FILMS, Caller, Harness, query
from tests.support.exact_replica import IDS_PER_VERSION

PAUSE_SECONDS = 0.002
CALLERS = 8


class Load:
    """When each call began and which version answered it. A failed call ends the test when the load is stopped."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, int]] = []
        self.failures: list[Exception] = []

    def versions(self) -> list[int]:
        return [version for _, version in self.answers]

    async def one(self, caller: Caller) -> None:
        began = time.monotonic()
        self._take(await caller.recall(query(top_k=5), seconds=5.0), began)

    async def batch(self, caller: Caller) -> None:
        began = time.monotonic()
        request = recall_pb2.BatchRecallRequest(service=FILMS, requests=[query("", top_k=5)] * 100)
        answer = await caller.call("BatchRecall", request, seconds=5.0)
        versions = {result.response.version for result in answer.results}
        assert len(versions) == 1, f"one batch was answered by versions {versions}"
        for result in answer.results:
            self._take(result.response, began)

    def _take(self, answer: Any, began: float) -> None:
        owners = {number // IDS_PER_VERSION for number in answer.ids}
        assert owners == {answer.version}, f"version {answer.version} answered with items of {owners}"
        self.answers.append((began, answer.version))


@asynccontextmanager
async def steady_load(harness: Harness) -> AsyncIterator[Load]:
    """Calls until the block ends; raises the first failure of any call."""
    load = Load()
    stopping = asyncio.Event()

    async def keep_calling(number: int) -> None:
        caller = harness.caller()
        while not stopping.is_set():
            try:
                await (load.batch(caller) if number == 0 else load.one(caller))
            except Exception as error:
                load.failures.append(error)
                raise
            await asyncio.sleep(PAUSE_SECONDS)

    tasks = [asyncio.create_task(keep_calling(number)) for number in range(CALLERS)]
    await harness.until(lambda: len(load.answers) > CALLERS or load.failures)
    try:
        yield load
    finally:
        stopping.set()
        await asyncio.gather(*tasks)
