"""A worker that has become deaf ends itself, so that whoever keeps it starts one that hears.

After Redis was away a worker's consumer sometimes does not come back: its process lives, its log is silent, its pool is
idle, and messages pile up in its queue (celery#8030, #8091, #10205). So each worker looks at its queues by a connection
of its own. When messages lie there all the time, a process of the pool is free all the time, and none is taken, then
nobody is listening. What runs in its pool ends with it and is taken up by another worker, as after any crash.

Does not notice a pool that hangs: builds have leases for that.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection
from typing import Any

import redis
from celery.signals import task_received, worker_ready, worker_shutting_down
from celery.worker import state
from django.conf import settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
# For the launcher, who writes it into its log.
EXIT_DEAF = 75


class Hearing:
    """What looks at the queues tell; pure, `now` rises."""

    def __init__(self, deaf_seconds: float) -> None:
        self._deaf_seconds = deaf_seconds
        self._taken = 0
        self._suspected_since: float | None = None

    def is_lost(self, *, now: float, waiting: int, taken: int, is_free: bool) -> bool:
        """`waiting` messages lie in the queues, `taken` have been taken from them so far, `is_free`: one more would be.

        A broker that could not be asked counts as one where nothing waits.
        """
        suspicious = waiting > 0 and is_free and taken == self._taken
        self._taken = taken
        if not suspicious:
            self._suspected_since = None
        elif self._suspected_since is None:
            self._suspected_since = now
        return self._suspected_since is not None and now - self._suspected_since >= self._deaf_seconds


class _Taken:
    """Messages that this worker has taken since it started."""

    def __init__(self) -> None:
        self.count = 0

    def one(self, **_unknown: Any) -> None:
        self.count += 1


_taken = _Taken()
task_received.connect(_taken.one)
# From then on it takes nothing, and lets what runs come to its end.
_is_ending = threading.Event()


@worker_shutting_down.connect
def _leave_it_alone(**_unknown: Any) -> None:
    _is_ending.set()


@worker_ready.connect
def _watch(sender: Any, **_unknown: Any) -> None:
    queues = [queue.name for queue in sender.task_consumer.queues]
    threading.Thread(target=_look, args=(queues, sender.pool.num_processes), name="hearing", daemon=True).start()


def _look(queues: Collection[str], processes: int) -> None:
    hearing = Hearing(settings.WORKER_DEAF_SECONDS)
    broker = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
    )
    while not _is_ending.wait(LOOK_SECONDS):
        is_free = len(state.reserved_requests) < processes
        if hearing.is_lost(now=time.monotonic(), waiting=_waiting(broker, queues), taken=_taken.count, is_free=is_free):
            log.critical("%s: messages wait, and this worker takes none; it ends to begin anew", ", ".join(queues))
            # Its own way to end would ask the consumer that does not listen.
            os._exit(EXIT_DEAF)


def _waiting(broker: redis.Redis, queues: Collection[str]) -> int:
    try:
        return sum(int(broker.llen(queue)) for queue in queues)
    except redis.RedisError:
        return 0
