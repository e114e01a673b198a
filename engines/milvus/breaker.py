"""When an instance is not asked any more, when again, and how often its heart is felt. Pure: times are given."""

from __future__ import annotations

from typing import Final

# So many failures to answer in a row, by whomever, and an instance is not asked any more.
FAILURES_MAX: Final = 3
# While nobody else hears of it, the instance is asked whether it lives so often; and more often while that is in doubt,
# because its callers wait for it.
BEAT_SECONDS: Final = 1.0
DOUBT_SECONDS: Final = 0.25
# Away, and nobody has wanted it for so long: then it is looked after more seldom, until somebody does.
UNWANTED_SECONDS: Final = 60.0
REST_SECONDS: Final = 5.0


class Breaker:
    """Closed while an instance is asked, open while it is not. Times are of time.monotonic(). One thread at a time."""

    def __init__(self, now: float) -> None:
        self.why = ""
        self._failures = 0
        self._heard_at = now
        self._wanted_at = now
        self._open = False

    @property
    def is_open(self) -> bool:
        return self._open

    def answered(self, now: float) -> bool:
        """Whatever it was, the instance is there. Whether this closes an open one."""
        closes, self._open = self._open, False
        self._failures, self._heard_at, self.why = 0, now, ""
        return closes

    def failed(self, why: str) -> bool:
        """Nobody answered. Whether this opens it."""
        self._failures += 1
        self.why = why
        opens = self._failures >= FAILURES_MAX and not self._open
        self._open |= opens
        return opens

    def wanted(self, now: float) -> bool:
        """Somebody wants to ask. Whether nobody has for so long that it should be looked at now."""
        rested = now - self._wanted_at > UNWANTED_SECONDS
        self._wanted_at = now
        return rested

    def silent_seconds(self, now: float) -> float:
        """Since the last answer, if somebody has asked in vain since."""
        return now - self._heard_at if self._failures else 0.0

    def pause_seconds(self, now: float) -> float:
        """Until the heart is felt again, unless somebody says that it should be now."""
        if self._open and now - self._wanted_at > UNWANTED_SECONDS:
            return REST_SECONDS
        if self._failures:
            return DOUBT_SECONDS
        return max(DOUBT_SECONDS, self._heard_at + BEAT_SECONDS - now)

    def is_in_doubt(self, now: float) -> bool:
        """Whether nobody has heard of the instance of late."""
        return self._failures > 0 or now - self._heard_at >= BEAT_SECONDS
