"""The application as beat has it: the schedule and no task, since who only rings needs none of what tasks import."""

from __future__ import annotations

from pathlib import Path

from celery.beat import PersistentScheduler

from workers.app import app

__all__ = ["Scheduler", "app"]

# Ticks between two signs of life: some six seconds.
TICKS_PER_SIGN = 25


class Scheduler(PersistentScheduler):
    """Touches a file beside its schedule, because the schedule's own time need not change when it is written."""

    schedule_filename: str

    def sync(self) -> None:
        super().sync()
        Path(f"{self.schedule_filename}.ticked").touch()


app.conf.include = []
app.conf.beat_scheduler = "workers.beat:Scheduler"
app.conf.beat_sync_every = TICKS_PER_SIGN
