"""The application as beat has it: the schedule and no task, since who only rings needs none of what tasks import."""

from workers.app import app

__all__ = ["app"]

app.conf.include = []
