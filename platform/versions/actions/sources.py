"""What a look at a source leads to: a build of its newest drop, at most once; and an alert when no drop comes.

**marker**: a drop that was not built under this spec is asked for once, whatever becomes of its build: a build that
failed or was cancelled is not asked for again until the drop or the spec changes.
**cron** (UTC): at each due time the newest complete drop is asked for, unless its build has succeeded or is unfinished.
Of times that were missed because the platform was down, or that came due during a build, one is made up for.
**Overlap**: while a build of the service waits or runs nothing is asked for; then it is the newest drop's turn. A held
build is no obstacle to a newer drop, which ends it as soon as its own build knows which drop it is of.
A service on hold is built for as usual, and its builds stop before the switch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from alerts.actions import alert_raise, alert_resolve
from catalog.models import Service
from catalog.notices import MARKER, built_spec, expect_time, is_cron, next_due
from common.actor import Actor
from versions.actions.builds import build_request
from versions.models import Build, SourceWatch
from versions.selectors import LOOK_SECONDS_MAX, builds_of
from versions.states import BUILD_UNFINISHED, BuildState

DROP_LATE = "drop.late"
# Where nothing can come due meanwhile, a look only finds out whether the spec has changed.
IDLE_LOOK_SECONDS = 60
NEW_WATCHES_MAX = 500
PROBLEM_CHARACTERS_MAX = 500
BUILT_OR_UNDER_WAY = BUILD_UNFINISHED | {BuildState.SUCCEEDED}


@dataclass(frozen=True)
class Seen:
    """What a look found: the newest complete drop, or the problem.

    `bad`: it cannot be opened, and a build says why. `doubtful`: that is to be seen once more first.
    """

    name: str = ""
    fingerprint: str = ""
    bad: bool = False
    problem: str = ""
    doubtful: bool = False


def watches_begin(now: datetime) -> None:
    """Makes the row of each service that has none."""
    fresh = Service.objects.filter(deleted_at__isnull=True, watch__isnull=True).order_by("pk")[:NEW_WATCHES_MAX]
    rows = [SourceWatch(service=service, began_at=now, next_look_at=now) for service in fresh]
    if rows:
        SourceWatch.objects.bulk_create(rows, ignore_conflicts=True)


def watch_take(watch: SourceWatch, *, now: datetime) -> bool:
    """Takes the row for one look; False when another worker did. A look that never ends costs its own source a turn."""
    untouched = SourceWatch.objects.filter(pk=watch.pk, next_look_at=watch.next_look_at)
    return untouched.update(next_look_at=now + timedelta(seconds=LOOK_SECONDS_MAX)) == 1


def must_look(watch: SourceWatch, *, now: datetime) -> bool:
    """Whether what lies in the source matters now."""
    source = watch.service.spec["source"]
    if source["notice"] == MARKER or source["expect_every"] is not None:
        return True
    return (
        is_cron(source["notice"])
        and watch.cron == source["notice"]
        and watch.due_at is not None
        and watch.due_at <= now
    )


@transaction.atomic
def source_looked(*, watch: SourceWatch, seen: Seen, now: datetime) -> Build | None:
    """Writes down what was seen and draws the consequences, see above; returns the build that was asked for.

    Raises QuotaExceeded when too many builds of the service are held; nothing is written then.
    """
    # Holds the row until the end: of two looks at once the second sees what the first did.
    SourceWatch.objects.filter(pk=watch.pk).update(looked_at=now)
    watch = SourceWatch.objects.select_related("service__tenant").get(pk=watch.pk)
    if watch.service.deleted_at is not None:
        return None
    seen = _note(watch, seen, now)
    _note_lateness(watch, now)
    build = None
    if _due_by_cron(watch, seen, now) if is_cron(_notice(watch)) else _due_by_marker(watch, seen):
        watch.requested = _identity(watch.service, seen.fingerprint)
        actor = Actor(kind="system", name="source marker" if _notice(watch) == MARKER else "source cron")
        build = build_request(actor=actor, service=watch.service)
    watch.next_look_at = _next_look_at(watch, now)
    watch.save()
    return build


def _notice(watch: SourceWatch) -> str:
    return str(watch.service.spec["source"]["notice"])


def _note(watch: SourceWatch, seen: Seen, now: datetime) -> Seen:
    """Remembers the drop. One that looks bad may be a file system that stumbles: it counts when it looks so twice."""
    watch.looked_at, watch.problem = now, seen.problem[:PROBLEM_CHARACTERS_MAX]
    doubtful = seen.bad and seen.fingerprint != watch.suspect
    watch.suspect = seen.fingerprint if seen.bad else ""
    if doubtful:
        return replace(seen, fingerprint="", doubtful=True)
    if seen.fingerprint and seen.fingerprint != watch.drop_fingerprint:
        watch.drop_name, watch.drop_fingerprint, watch.drop_seen_at = seen.name, seen.fingerprint, now
    return seen


def _note_lateness(watch: SourceWatch, now: datetime) -> None:
    every = watch.service.spec["source"]["expect_every"]
    # The clock may have been set back.
    since = min(watch.drop_seen_at or watch.began_at, now)
    late = every is not None and now - since > expect_time(every)
    if late and watch.late_at is None:
        watch.late_at = now
        newest = f"{watch.drop_name}, the newest, is known" if watch.drop_name else "the source is watched"
        message = (
            f"No new drop came to {watch.service.name} within {every}: {newest} since {since:%Y-%m-%d %H:%M} UTC. "
            "What is live stays. See whether the training job ran, and whether it wrote its marker."
        )
        evidence = {
            "expect_every": every,
            "drop": watch.drop_name,
            "since": since.isoformat(),
            "problem": watch.problem,
        }
        alert_raise(service=watch.service, reason=DROP_LATE, message=message, evidence=evidence)
    elif watch.late_at is not None and not late:
        watch.late_at = None
        alert_resolve(service=watch.service, reason=DROP_LATE)


def _due_by_marker(watch: SourceWatch, seen: Seen) -> bool:
    watch.cron, watch.due_at = "", None
    if _notice(watch) != MARKER or not seen.fingerprint:
        return False
    if watch.requested == _identity(watch.service, seen.fingerprint) or _is_busy(watch.service, seen):
        return False
    return not _has_build(watch.service, seen.fingerprint, frozenset(BuildState))


def _due_by_cron(watch: SourceWatch, seen: Seen, now: datetime) -> bool:
    cron = _notice(watch)
    upcoming = next_due(cron, now)
    if watch.cron != cron or watch.due_at is None:
        watch.cron, watch.due_at = cron, upcoming
    # After a clock was set back, the next time is not the one that lay ahead of the wrong one.
    watch.due_at = min(watch.due_at, upcoming)
    if watch.due_at > now or seen.doubtful or _is_busy(watch.service, seen):
        return False
    watch.due_at = upcoming
    return bool(seen.fingerprint) and not _has_build(watch.service, seen.fingerprint, BUILT_OR_UNDER_WAY)


def _is_busy(service: Service, seen: Seen) -> bool:
    """Whether a build waits or runs, or one is held whose drop is newer than what was seen."""
    if builds_of(service).filter(state__in=[BuildState.PENDING, BuildState.RUNNING]).exists():
        return True
    held = builds_of(service).filter(state=BuildState.HELD).values_list("drop_name", flat=True)
    # Compared here: a database may sort texts by a language.
    return bool(seen.name) and any(name > seen.name for name in held)


def _has_build(service: Service, fingerprint: str, states: Collection[str]) -> bool:
    """Whether the newest build of the drop with such a result was under what matters of the present spec.

    The newest: a spec that was changed and changed back is built once more, because what is live is of the other one.
    """
    newest = builds_of(service).filter(drop_fingerprint=fingerprint, state__in=states).first()
    return newest is not None and built_spec(newest.spec) == built_spec(service.spec)


def _identity(service: Service, fingerprint: str) -> str:
    """Of a drop under a spec: SHA-256 (hex)."""
    return hashlib.sha256(json.dumps([fingerprint, built_spec(service.spec)], sort_keys=True).encode()).hexdigest()


def _next_look_at(watch: SourceWatch, now: datetime) -> datetime:
    often = must_look(watch, now=now)
    at = now + timedelta(seconds=settings.SOURCE_LOOK_SECONDS if often else IDLE_LOOK_SECONDS)
    return min(at, watch.due_at) if watch.due_at is not None and watch.due_at > now else at
