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
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

# Message -> queue. A test holds this table to the registered Celery tasks.
QUEUES = {
    "build.run": "builds",
    "comparison.run": "control",
    "draft.read": "control",
    "routes.publish": "control",
    "routes.publish_tenant": "control",
}

# A message that nobody took within this time is dropped; the sweeper rings again.
RING_EXPIRES_SECONDS = 60
# A doorbell that cannot be rung at once is left to the sweeper, so that a page never hangs on Redis. Celery's shared
# connection would try three times, 6 s in all (measured), and wait another 5 s for a Redis that hangs.
RING_TIMEOUT_SECONDS = 1
RING_CONNECTION = {
    "max_retries": 0,
    "retry_on_timeout": False,
    "socket_timeout": RING_TIMEOUT_SECONDS,
    "socket_connect_timeout": RING_TIMEOUT_SECONDS,
}


def after_commit(name: str, *ids: int) -> None:
    """Sends message `name` with `ids` once the transaction around this call has committed."""
    call_after_commit(lambda: ring(name, *ids))


def call_after_commit(work: Callable[[], Any]) -> None:
    """Runs `work` once the transaction has committed; its failure is logged, because the commit stands, and what else
    is to be done after the commit is done."""
    transaction.on_commit(work, robust=True)


def ring(name: str, *ids: int) -> None:
    """Sends the message now; when the broker is away or refuses it, says so in the log and leaves it to the sweeper."""
    try:
        with current_app.connection_for_write(transport_options=RING_CONNECTION) as connection:
            current_app.send_task(
                name,
                args=list(ids),
                queue=QUEUES[name],
                connection=connection,
                retry=False,
                expires=RING_EXPIRES_SECONDS,
                ignore_result=True,
            )
    # A broker that is there and refuses to write (it is full, or a replica) is not told by Celery as its own error.
    except (OperationalError, RedisError) as error:
        log.warning("The message %s%s was not sent (%s); the sweeper will ring again.", name, ids, error)
