"""When a replica that died may come back. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

# A process that lived for so long has nothing to do with the deaths before it.
STEADY_SECONDS = 60.0


@dataclass
class Backoff:
    """Counts deaths; `failed` once `deaths_max` of them fell into one window, until a process lived steadily."""

    seconds_min: float
    seconds_max: float
    deaths_max: int
    window_seconds: float
    failed: bool = False
    _in_a_row: int = 0
    _deaths: deque[float] = field(default_factory=deque)

    def died(self, now: float, *, lived_seconds: float) -> float:
        """Note a death; returns the seconds to wait before the next start."""
        if lived_seconds >= STEADY_SECONDS:
            self.failed, self._in_a_row = False, 0
            self._deaths.clear()
        self._in_a_row += 1
        self._deaths.append(now)
        while self._deaths[0] <= now - self.window_seconds:
            self._deaths.popleft()
        self.failed = self.failed or len(self._deaths) >= self.deaths_max
        if self.failed:
            return self.seconds_max
        return float(min(self.seconds_max, self.seconds_min * 2 ** (self._in_a_row - 1)))
