"""Ringing Celery's doorbell after the commit.

Actions know task names and no task, so that workers may import versions and never the other way round. A message
that is lost costs only time: the row is the truth and the sweeper rings again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

# Message -> queue. A test holds this table to the registered Celery tasks.
QUEUES = {
    "build.run": "builds",
    "routes.publish": "control",
    "routes.publish_tenant": "control",
}

# A doorbell that does not ring within this time is left to the sweeper, so that a page never hangs on Redis.
RING_EXPIRES_SECONDS = 60


def after_commit(name: str, *ids: int) -> None:
    """Sends message `name` with `ids` once the transaction around this call has committed."""
    transaction.on_commit(lambda: ring(name, *ids))


def call_after_commit(work: Callable[[], Any]) -> None:
    """Runs `work` once the transaction has committed; its failure is logged, because the commit stands."""
    transaction.on_commit(work, robust=True)


def ring(name: str, *ids: int) -> None:
    try:
        current_app.send_task(
            name, args=list(ids), queue=QUEUES[name], retry=False, expires=RING_EXPIRES_SECONDS, ignore_result=True
        )
    except OperationalError as error:
        log.warning("The message %s%s was not sent (%s); the sweeper will ring again.", name, ids, error)
