"""The workers' Celery application: queues, schedule, and how a worker process ends.

celery -A workers.app worker -Q control    sweeps and publishes; short tasks
celery -A workers.app worker -Q builds     builds; a task may take hours
celery -A workers.app worker -Q health     audits of replicas, which wait behind nothing else
celery -A workers.beat beat                rings for the sweeps
"""

from __future__ import annotations

import logging
from typing import Any

from billiard import pool
from celery.signals import after_setup_logger, beat_init, worker_process_init
from django.conf import settings

from config.celery import app
from documents.traffic import SPAN_SECONDS
from engines.leash import die_with_parent

__all__ = ["app"]

CONTROL, HEALTH = "control", "health"


def _every(seconds: float, task: str, queue: str = CONTROL) -> dict[str, Any]:
    """A tick that nobody took by the time of the next but one is dropped, so that ticks never pile up."""
    return {"task": task, "schedule": seconds, "options": {"queue": queue, "expires": 2 * seconds}}


app.conf.include = ["workers.tasks", "workers.hearing"]
app.conf.beat_schedule = {
    "builds": _every(1, "sweep.builds"),
    "reports": _every(1, "sweep.reports"),
    "replicas": _every(1, "audit.replicas", HEALTH),
    "documents": _every(5, "sweep.documents"),
    "versions": _every(5, "sweep.versions"),
    "sources": _every(2, "sweep.sources"),
    "drafts": _every(2, "sweep.drafts"),
    "comparisons": _every(2, "sweep.comparisons"),
    "files": _every(30, "sweep.files"),
    "aliases": _every(30, "sweep.aliases"),
    "memory": _every(30, "sweep.memory"),
    "alerts": _every(5, "sweep.alerts"),
    "traffic": _every(SPAN_SECONDS, "sweep.traffic"),
}
app.conf.beat_schedule_filename = str(settings.RECALL_HOME / "run" / "beat.schedule")
# The default of 300 s would let a tick wait behind a clock that was set back.
app.conf.beat_max_loop_interval = 1


# Each tick would be four lines of log; what a task has to say it says itself.
TICKING_LOGGERS = ("celery.worker.strategy", "celery.app.trace", "celery.beat")


@after_setup_logger.connect
@beat_init.connect
def _say_nothing_of_ticks(**_unknown: Any) -> None:
    for name in TICKING_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


# How often (each 0.1 s) a pool process that is about to end looks whether its worker has read all its results.
UNREAD_RESULTS_LOOKS_MAX = 10


@worker_process_init.connect
def _die_with_the_worker(**_unknown: Any) -> None:
    """A pool process whose worker was killed would go on unseen, and its build child with it."""
    die_with_parent()


@worker_process_init.connect
def _end_soon(**_unknown: Any) -> None:
    """A worker that is asked to end forgets a task that it has just handed over, and never reads that task's result.

    Its pool process would wait for this for 300 looks, and the worker for its pool process. Nobody asks for results
    here, and what a tick leaves undone the next one finds.
    """
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = UNREAD_RESULTS_LOOKS_MAX
