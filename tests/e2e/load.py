"""A steady load of recall calls beside a test, and what came of each of them.

Open loop: calls start on a clock and never wait for each other, so that a stall shows as late or failed calls and
not as fewer of them.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from recallpb.v1 import recall_pb2, recall_pb2_grpc

DEADLINE_SECONDS = 5.0
CHANNELS = 4


@dataclass
class Answer:
    """`ids` are of the version `version`, or the call failed with `error`; `query` is the number of what was asked."""

    started_at: float
    seconds: float
    query: int
    version: int = 0
    ids: list[int] = field(default_factory=list)
    error: str = ""


class Load:
    """Runs `qps` calls a second in a thread of its own until stopped. Use as a context manager."""

    def __init__(
        self,
        *,
        target: str,
        key: str,
        service: str,
        queries: np.ndarray | Sequence[recall_pb2.FeatureQuery],
        qps: float,
        top_k: int = 100,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self.answers: list[Answer] = []
        self.sent = 0
        self.seconds = 0.0
        self._target, self._key, self._qps = target, key, qps
        self._deadline_seconds = deadline_seconds
        self._requests = [recall_pb2.RecallRequest(service=service, top_k=top_k, **_asked(query)) for query in queries]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Load:
        # Collections of all that is kept here took up to 90 ms, and were told as the platform's.
        gc.disable()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        gc.enable()

    def check_complete(self) -> None:
        """Every call that was sent has ended, and the load was as heavy as it claims."""
        assert not self._thread.is_alive()
        assert len(self.answers) == self.sent
        assert self.sent >= 0.9 * self._qps * self.seconds

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.error]

    def seconds_since(self, moment: float, version: int) -> float | None:
        """From `moment` (time.monotonic) to the first finished answer of `version` that started after it."""
        ends = [a.started_at + a.seconds for a in list(self.answers) if a.version == version and a.started_at >= moment]
        return min(ends) - moment if ends else None

    async def _run(self) -> None:
        channels = [
            grpc.aio.insecure_channel(self._target, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(CHANNELS)
        ]
        stubs = [recall_pb2_grpc.RecallServiceStub(channel) for channel in channels]
        calls: set[asyncio.Task[None]] = set()
        begin = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - begin) * self._qps)
            for number in range(self.sent, due):
                call = asyncio.create_task(self._call(stubs[number % CHANNELS], number % len(self._requests)))
                calls.add(call)
                call.add_done_callback(calls.discard)
            self.sent = max(self.sent, due)
            await asyncio.sleep(0.002)
        self.seconds = time.monotonic() - begin
        if calls:
            await asyncio.wait(calls, timeout=2 * self._deadline_seconds)
        for channel in channels:
            await channel.close()

    async def _call(self, stub: recall_pb2_grpc.RecallServiceStub, query: int) -> None:
        started = time.monotonic()
        metadata = [("authorization", f"Bearer {self._key}")]
        try:
            response = await stub.Recall(self._requests[query], metadata=metadata, timeout=self._deadline_seconds)
            answer = Answer(started, time.monotonic() - started, query, response.version, list(response.ids))
        except grpc.aio.AioRpcError as error:
            answer = Answer(started, time.monotonic() - started, query, error=f"{error.code().name}: {error.details()}")
        self.answers.append(answer)


def _asked(query: np.ndarray | recall_pb2.FeatureQuery) -> dict[str, Any]:
    if isinstance(query, recall_pb2.FeatureQuery):
        return {"features": query}
    packed = np.ascontiguousarray(query, dtype="<f4").tobytes()
    return {"vectors": recall_pb2.VectorQuery(vectors=[recall_pb2.Vector(packed=packed)])}
