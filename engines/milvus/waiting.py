"""What the log of a build says of waiting for an instance: once that it waits, and once that it goes on."""

from __future__ import annotations

import threading
from typing import Final

from engines import notes

# What is over sooner is no matter for people.
TOLD_SECONDS: Final = 3.0


class Waiting:
    """Of one instance, whichever threads wait for it: partitions that are built side by side wait together."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._told = False
        self._longest_seconds = 0.0
        self._lock = threading.Lock()

    def lasts(self, seconds: float, why: str, *, seconds_max: float) -> bool:
        """Somebody waits, for so long by now, and goes on for `seconds_max`. Returns whether it was told just now."""
        with self._lock:
            self._longest_seconds = max(self._longest_seconds, seconds)
            if self._told or seconds < TOLD_SECONDS:
                return False
            self._told = True
        notes.tell(f"Waits: {why.rstrip('.')}. It is waited for up to {seconds_max:.0f} s.")
        return True

    def ends(self) -> None:
        """It has answered."""
        with self._lock:
            was_told, seconds = self._told, self._longest_seconds
            self._told, self._longest_seconds = False, 0.0
        if was_told:
            notes.tell(f"Goes on: {self._name} answers again, after {seconds:.0f} s.")
