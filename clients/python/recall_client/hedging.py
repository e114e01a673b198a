"""When a read that takes long is asked a second time, and how often at most.

A call is hedged when it has taken longer than 95 % of its kind did of late, so about one in twenty is. The share is
bounded as well: when everything becomes slow at once, hedges stay a tenth of the calls, and they end when the platform
says that it has too much to do. So hedging takes off the tail that one slow place makes, and never feeds an overload.
"""

from __future__ import annotations

import threading
from collections import deque

import grpc

QUANTILE = 0.95
# The newest latencies of a kind, from which its quantile is read anew after every so many.
LATENCIES_KEPT = 500
LATENCIES_PER_READING = 50
# Below so many nothing is known yet, and nothing hedged.
LATENCIES_MIN = 100
# The kind of calls that are never hedged.
NOT_HEDGED = ""
# A hedge sooner than this costs more than it can save.
DELAY_SECONDS_MIN = 0.001
# Each call earns a part of a token, a hedge costs one.
TOKENS_PER_CALL = 0.1
TOKENS_MAX = 5.0


class Hedging:
    """What is known of latencies, by kind of call, and the tokens for hedges. Safe to share among threads.

    A kind is a name of calls that take about as long as one another; NOT_HEDGED is never hedged.
    """

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._latencies: dict[str, Latencies] = {}
        self._tokens = TOKENS_MAX
        self._lock = threading.Lock()

    def delay_seconds(self, kind: str) -> float | None:
        """After how long a call of this kind is hedged; None: not at all, just now."""
        with self._lock:
            latencies = self._latencies.get(kind)
            return latencies.delay_seconds if latencies and self._tokens >= 1 else None

    def spend(self) -> bool:
        """Whether a hedge may go out now."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def took(self, kind: str, seconds: float) -> None:
        """A call was answered, or ran out of time, after so long.

        Of a hedged call that is the time to its first answer: what its first attempt would have taken is longer still
        and lies above the quantile either way, so hedging does not make the quantile sink.
        """
        if not (self._on and kind):
            return
        with self._lock:
            self._latencies.setdefault(kind, Latencies()).add(seconds)
            self._tokens = min(TOKENS_MAX, self._tokens + TOKENS_PER_CALL)

    def failed(self, code: grpc.StatusCode) -> None:
        """A call, or a hedge, failed. After an overload there are no hedges until other calls have earned them."""
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            with self._lock:
                self._tokens = 0.0


class Latencies:
    """The newest latencies of one kind of call, in seconds."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._until_reading = LATENCIES_MIN
        self.delay_seconds: float | None = None

    def add(self, seconds: float) -> None:
        self._newest.append(seconds)
        self._until_reading -= 1
        if self._until_reading:
            return
        self._until_reading = LATENCIES_PER_READING
        ordered = sorted(self._newest)
        self.delay_seconds = max(DELAY_SECONDS_MIN, ordered[int(QUANTILE * len(ordered))])
