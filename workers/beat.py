"""The application as beat has it: the schedule and no task, since who only rings needs none of what tasks import."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery.beat import PersistentScheduler

from workers.app import app

__all__ = ["Scheduler", "app"]

SIGN_SECONDS = 5.0


class Scheduler(PersistentScheduler):
    """Touches a file beside its schedule as long as it ticks.

    The schedule's own time does not tell: its pages are mapped, and the system notes a write only when it likes.
    """

    schedule_filename: str
    _signed_at = 0.0

    def tick(self, *arguments: Any, **options: Any) -> float:
        seconds: float = super().tick(*arguments, **options)
        if time.monotonic() - self._signed_at >= SIGN_SECONDS:
            Path(f"{self.schedule_filename}.ticked").touch()
            self._signed_at = time.monotonic()
        return seconds


app.conf.include = []
app.conf.beat_scheduler = "workers.beat:Scheduler"
