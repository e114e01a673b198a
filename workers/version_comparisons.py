"""Compares the files of two versions for people who wait for it; one comparison at a time, in a child of its own.

The row is the queue. Who is at one says so every few seconds, so that another worker goes on soon where one died.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from common.dispatch import ring
from common.errors import StateConflict
from versions import actions
from versions.comparisons import comparisons_waiting
from versions.models import Version, VersionComparison
from workers import doorbell
from workers.child import run_child
from workers.outcomes import StepFailed
from workers.sweep import unless_redis_is_away

log = logging.getLogger(__name__)

CHILD = "workers.children.version_comparing"
# Of one comparison. 1 M x 64 took 8 s on two cores.
SECONDS_MAX = 300
# Celery ends a worker after this time, for a file system that does not answer.
TASK_SECONDS_KILLED = 2 * SECONDS_MAX
RENEW_SECONDS = 3.0
# Everything is mapped and read in chunks; what a query model takes comes on top of some 200 MB.
MEMORY_BYTES_MAX = 2**30
# One that was just asked for is rung for by whoever asked.
RING_AFTER_SECONDS = 3
# So many one tick rings for; they come one after another, and the rest have their turn.
RINGS_MAX = 20


@unless_redis_is_away
def compute_alone(comparison_id: int) -> None:
    """Computes one, unless another is being computed. Who finds another worker at it goes; the tick rings again."""
    with doorbell.alone("comparisons", seconds_max=TASK_SECONDS_KILLED) as mine:
        if mine:
            compute(comparison_id)


def compute(comparison_id: int) -> None:
    """The result, or why there is none, into the row; nothing when nobody asks or another worker is at it."""
    comparison = actions.comparison_take(comparison_id)
    if comparison is None:
        return
    try:
        _answer(comparison)
    except StateConflict:
        log.info("%s is another worker's by now.", comparison)


@unless_redis_is_away
def ring_for_waiting() -> None:
    """Rings for those whose message was lost, came while another was under way, or whose worker is gone."""
    before = timezone.now() - timedelta(seconds=RING_AFTER_SECONDS)
    for comparison_id, takes in comparisons_waiting(before).values_list("pk", "takes")[:RINGS_MAX]:
        if doorbell.may_ring_for_comparison(comparison_id, takes):
            ring("comparison.run", comparison_id)


def _answer(comparison: VersionComparison) -> None:
    """Raises StateConflict when the comparison is another worker's by now."""
    held = _Held(comparison)
    try:
        with tempfile.TemporaryDirectory(prefix="recall-comparison-") as folder:
            found = run_child(CHILD, _order(comparison), Path(folder), check=held.check, progress=held.progress)
    except StepFailed as error:
        log.warning("%s failed: %s %s", comparison, error.reason, error.message)
        actions.comparison_failed(comparison=comparison, reason=error.reason, message=error.message)
    else:
        result = {name: found[name] for name in ("items", "answers", "seconds", "peak_rss_bytes")}
        actions.comparison_done(comparison=comparison, result=result)


def _order(comparison: VersionComparison) -> dict[str, Any]:
    return {
        "parent_pid": os.getpid(),
        "nice": settings.BUILD_NICE,
        "cpus": settings.BUILD_CPUS,
        "memory_bytes_max": MEMORY_BYTES_MAX,
        "version": _artifact(comparison.version),
        "other": _artifact(comparison.other),
        "top_k": comparison.version.spec["search"]["at"],
    }


def _artifact(version: Version) -> dict[str, str]:
    return {"path": version.artifact, "manifest_sha256": version.manifest_sha256}


class _Held:
    """Keeps a comparison this worker's while the child works; ends the child when it is not, or takes too long."""

    def __init__(self, comparison: VersionComparison) -> None:
        self._comparison = comparison
        self._began_at = self._renewed_at = time.monotonic()
        self._progress: float | None = None

    def check(self) -> None:
        """Raises StateConflict, or StepFailed when time is up."""
        now = time.monotonic()
        if now - self._began_at > SECONDS_MAX:
            raise StepFailed("comparison.too_slow", f"It was not done within {SECONDS_MAX} s.")
        if now - self._renewed_at >= RENEW_SECONDS:
            self._renewed_at = now
            actions.comparison_renew(comparison=self._comparison, progress=self._progress)

    def progress(self, done: int, expected: int, _unit: str = "rows", /) -> None:
        self._progress = min(1.0, done / expected) if expected else None
