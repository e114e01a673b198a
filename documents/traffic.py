"""What callers asked, span by span, on its way from the gateways to the control plane.

    recall:traffic:{began}   hash: gateway process -> recallpb.internal.v1.TrafficReport, with a time to live

A span lasts SPAN_SECONDS and begins at a multiple of that in Unix time. Each gateway process writes a span once, when
it is over; the control plane makes rows of spans that are settled and deletes them here. Nothing depends on it: a span
that Redis loses is a gap in a chart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio

from recallpb.internal.v1 import documents_pb2

SPAN_SECONDS = 10
# After its end a gateway may still be writing a span; from then on it is complete.
SETTLED_AFTER_SECONDS = 5
TRAFFIC_TTL_SECONDS = 600
TRAFFIC_PREFIX = "recall:traffic:"
SCAN_KEYS = 500
# Upper bounds of the time from a call's arrival to its answer; one more count is for what took longer.
LATENCY_MS = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 100, 250, 500, 1_000, 2_500, 10_000)
LATENCY_SECONDS = tuple(bound / 1_000 for bound in LATENCY_MS)


@dataclass(slots=True)
class Traffic:
    """Calls of one service: queries (a batch has several), calls by gRPC code, and calls by LATENCY_SECONDS."""

    queries: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_SECONDS) + 1))

    @property
    def calls(self) -> int:
        return sum(self.counts)

    def add(self, other: Traffic) -> None:
        """Counts `other` in."""
        self.queries += other.queries
        for code, calls in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + calls
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def since(self, before: Traffic) -> Traffic:
        """What came after `before`, an earlier state of the same counters."""
        codes = {code: calls - before.codes.get(code, 0) for code, calls in self.codes.items()}
        return Traffic(
            queries=self.queries - before.queries,
            codes={code: calls for code, calls in codes.items() if calls},
            counts=[now - then for now, then in zip(self.counts, before.counts, strict=True)],
        )


def span_of(seconds: float) -> int:
    """The beginning of the span in which a moment of Unix time lies."""
    return int(seconds // SPAN_SECONDS) * SPAN_SECONDS


class TrafficWriter:
    """The gateway's side. asyncio; raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def put(self, began: int, process: str, services: Mapping[str, Traffic]) -> None:
        """Writes one span of one gateway process."""
        report = documents_pb2.TrafficReport()
        for name, traffic in services.items():
            told = report.services[name]
            told.queries = traffic.queries
            told.codes.update(traffic.codes)
            told.counts.extend(traffic.counts)
        key = f"{TRAFFIC_PREFIX}{began}"
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, process, report.SerializeToString())
            pipeline.expire(key, TRAFFIC_TTL_SECONDS)
            await pipeline.execute()


class TrafficReader:
    """The control plane's side. Blocking; raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def settled(self, now: float) -> dict[int, dict[str, Traffic]]:
        """Spans that are over, oldest first: what was asked of each service, at all gateways together."""
        keys: list[bytes] = list(self._redis.scan_iter(match=f"{TRAFFIC_PREFIX}*", count=SCAN_KEYS))
        begins = sorted(int(key.decode().removeprefix(TRAFFIC_PREFIX)) for key in keys)
        over = [began for began in begins if began + SPAN_SECONDS + SETTLED_AFTER_SECONDS <= now]
        return {began: self._read(began) for began in over}

    def forget(self, spans: Sequence[int]) -> None:
        """Deletes spans of which rows were made."""
        if spans:
            self._redis.delete(*(f"{TRAFFIC_PREFIX}{began}" for began in spans))

    def _read(self, began: int) -> dict[str, Traffic]:
        payloads: Any = self._redis.hvals(f"{TRAFFIC_PREFIX}{began}")
        asked: dict[str, Traffic] = {}
        for payload in payloads:
            for name, told in documents_pb2.TrafficReport.FromString(payload).services.items():
                # A gateway of a release with other bounds cannot be added up with ours.
                if len(told.counts) == len(LATENCY_SECONDS) + 1:
                    asked.setdefault(name, Traffic()).add(
                        Traffic(queries=told.queries, codes=dict(told.codes), counts=list(told.counts))
                    )
        return asked
