"""What a step gets: the build as it is, and the little it may do besides computing."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import redis
from django.conf import settings
from django.db import Error, connection
from django.utils import timezone

from catalog.models import Service
from versions import actions
from versions.actions import Claim
from versions.models import Build, Version
from versions.selectors import version_get
from workers import reports
from workers.child import run_child
from workers.folders import of_fence
from workers.lease import Lease

log = logging.getLogger(__name__)

# A step that waits looks this often and this long before it frees its worker: short waits need no doorbell.
POLL_SECONDS = 0.1
POLL_SECONDS_MAX = 5.0
PROGRESS_SECONDS = 1.0
# The build's log keeps it so often.
PROGRESS_LINE_SECONDS = 10.0

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class BuildContext:
    """One step of one build. Steps read here and compute; rows are written by versions.actions alone."""

    claim: Claim
    build: Build
    step: str
    started_at: datetime
    lease: Lease

    @property
    def service(self) -> Service:
        """The service as it is now; the build's own copy of the spec is `spec`."""
        return Service.objects.select_related("tenant").get(pk=self.build.service_id)

    @property
    def spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self.build.spec
        return spec

    @property
    def values(self) -> Mapping[str, Any]:
        """What earlier steps left."""
        values: Mapping[str, Any] = self.build.context
        return values

    @property
    def overrides(self) -> Mapping[str, str]:
        """What an operator let pass in this step: reason of the hold -> why."""
        overrides: Mapping[str, str] = self.build.overrides.get(self.step, {})
        return overrides

    @property
    def version(self) -> Version:
        """The version that this build makes; reserved before."""
        return version_get(self.build.service, self.build.version_number or 0)

    @property
    def work_dir(self) -> Path:
        return Path(self.build.work_dir)

    @property
    def waited_seconds(self) -> float:
        """Since the step began, its waits included."""
        return (timezone.now() - self.started_at).total_seconds()

    def say(self, text: str) -> None:
        """A line of the build's log, for people. While the database is away it is not kept."""
        try:
            actions.build_say(self.claim, self.step, text)
        except Error:
            _database_is_away(self, "does not say what it does")

    def new_work_dir(self) -> Path:
        """A folder that no other worker has, nor had: its name holds the fence, and the service's key.

        The next owner of the service's name counts builds and fences from 1 again.
        """
        build = self.build
        name = f"s{build.service_id}-build-{build.number}-f{self.claim.fence}"
        folder = settings.RECALL_WORK / build.service.tenant.name / build.service.name / name
        folder.mkdir(parents=True, exist_ok=True)
        actions.work_dir_set(self.claim, str(folder))
        build.work_dir = str(folder)
        return Path(folder)

    def folder(self, name: str) -> Path:
        """A fresh folder of this claim inside the working folder; what an earlier worker left is not touched.

        A build that is published needs its working folder for nothing else, so that it may be gone by then.
        """
        work_dir = self.work_dir if self.work_dir.is_absolute() and self.work_dir.is_dir() else self.new_work_dir()
        folder = work_dir / of_fence(name, self.claim.fence)
        folder.mkdir(exist_ok=True)
        return folder

    def run_child(self, module: str, order: Mapping[str, Any]) -> dict[str, Any]:
        """Runs a child with the platform's priority, cores and memory cap; its progress becomes the step's, and what it
        tells people lines of the build's log."""
        limits = {
            "nice": settings.BUILD_NICE,
            "cpus": settings.BUILD_CPUS,
            "memory_bytes_max": settings.BUILD_MEMORY_BYTES_MAX,
        }
        full = {**limits, "parent_pid": os.getpid(), **order}
        folder = self.folder("run")
        return run_child(module, full, folder, check=self.lease.check, progress=RowProgress(self), say=self.say)

    def poll(self, look: Callable[[], AnswerT | None]) -> AnswerT | None:
        """What `look` finds within POLL_SECONDS_MAX, or None. Before each look the nodes' reports become rows.

        Without Redis there are no reports and nothing to poll for: one look, and the step waits. While the database is
        away nothing is found.
        """
        until = time.monotonic() + POLL_SECONDS_MAX
        while True:
            self.lease.check()
            found = None
            try:
                reports.collect()
                found = look()
            except redis.RedisError as error:
                log.warning("Build %s waits in %s: Redis is away (%s).", self.build.pk, self.step, error)
                return look()
            except Error:
                _database_is_away(self, "looks again")
            if found is not None or time.monotonic() > until:
                return found
            time.sleep(POLL_SECONDS)


class RowProgress:
    """Turns counts of rows (or bytes) into share, rate and seconds left; written at most once in PROGRESS_SECONDS.

    Every PROGRESS_LINE_SECONDS it is a line of the build's log, too.
    """

    def __init__(self, ctx: BuildContext) -> None:
        self._ctx = ctx
        self._began_at = time.monotonic()
        self._told_at = 0.0
        self._said_at = self._began_at
        self._unit = "rows"

    def __call__(self, done: int, expected: int, unit: str = "rows", /) -> None:
        now = time.monotonic()
        if unit != self._unit:
            self._unit, self._began_at = unit, now
        if now - self._told_at < PROGRESS_SECONDS:
            return
        self._told_at = now
        try:
            self._tell(done, expected, rate=done / max(now - self._began_at, 1e-6))
        except Error:
            # The child goes on; when the database stays away, the lease says so.
            _database_is_away(self._ctx, "does not tell its progress")

    def _tell(self, done: int, expected: int, *, rate: float) -> None:
        known = expected > 0
        detail = f"{done:,} of {expected:,} {self._unit}" if known else f"{done:,} {self._unit}"
        actions.step_progress(
            self._ctx.claim,
            self._ctx.step,
            progress=min(1.0, done / expected) if known else None,
            rate=rate,
            eta_seconds=max(0.0, (expected - done) / rate) if known and rate > 0 else None,
            detail=detail,
        )
        if self._told_at - self._said_at >= PROGRESS_LINE_SECONDS:
            self._said_at = self._told_at
            actions.build_say(self._ctx.claim, self._ctx.step, f"{detail}, {rate:,.0f} a second")


def _database_is_away(ctx: BuildContext, so: str) -> None:
    log.warning("Build %s in %s %s: the database is in trouble.", ctx.build.pk, ctx.step, so, exc_info=True)
    # A broken connection stays broken; the next query opens a new one.
    connection.close()
