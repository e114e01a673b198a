"""Comparisons of two versions: asked for by whoever looks, computed by a worker, kept as long as both versions.

Nothing that is served or built changes by them, so they leave no trace in the audit trail.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from common.dispatch import after_commit
from common.errors import StateConflict
from common.transitions import move
from versions.comparisons import AGAIN_SECONDS, comparison_of, is_known, newer_first, obstacle
from versions.models import Version, VersionComparison
from versions.states import COMPARISON, COMPARISON_UNDER_WAY, ComparisonState

# Of one tenant, so many wait for a worker or are under way; who asks for more asks again later.
UNDER_WAY_MAX = 20
# Who is at one says so every few seconds; after so long without a word it is gone.
TAKEN_SECONDS = 30
# A comparison that so many workers did not live to finish is not begun again by itself.
TAKES_MAX = 3


@transaction.atomic
def comparison_ask(*, version: Version, other: Version) -> VersionComparison | None:
    """Has a worker compare two versions of a service, unless all is known, or nothing can be found out (any more).

    Returns what stands in the rows by then. Idempotent, so that a look may ask.
    """
    newer, older = newer_first(version, other)
    known = comparison_of(newer, older)
    if known is not None:
        return _ask_again(known) if known.state == ComparisonState.FAILED and _may_ask_again(known) else known
    if is_known(newer, older) or obstacle(newer, older) or _too_many(newer):
        return None
    made, is_new = VersionComparison.objects.get_or_create(
        version=newer, other=older, defaults={"asked_at": timezone.now()}
    )
    if is_new:
        after_commit("comparison.run", made.pk)
    return made


def comparison_take(comparison_id: int) -> VersionComparison | None:
    """The comparison for the worker that is to compute it; None when nobody asks, or another worker is at it.

    One that TAKES_MAX workers did not live to finish fails here.
    """
    waiting = Q(state=ComparisonState.ASKED) | Q(state=ComparisonState.RUNNING, taken_until__lt=Now())
    rows = VersionComparison.objects.select_related("version__service__tenant", "other")
    comparison = rows.filter(waiting, pk=comparison_id).first()
    if comparison is None:
        return None
    # Of two workers that both found it the second finds other values.
    found = {"state": comparison.state, "takes": comparison.takes}
    try:
        taken_until = timezone.now() + timedelta(seconds=TAKEN_SECONDS)
        move(
            comparison, COMPARISON, ComparisonState.RUNNING,
            where=found, takes=F("takes") + 1, taken_until=taken_until, progress=None,
        )  # fmt: skip
    except StateConflict:
        return None
    if comparison.takes > TAKES_MAX:
        message = f"{TAKES_MAX} workers did not live to the end of it."
        comparison_failed(comparison=comparison, reason="comparison.gave_up", message=message)
        return None
    return comparison


def comparison_renew(*, comparison: VersionComparison, progress: float | None) -> None:
    """Says that its worker is still at it. Raises StateConflict when it is another's by now."""
    mine = VersionComparison.objects.filter(pk=comparison.pk, state=ComparisonState.RUNNING, takes=comparison.takes)
    taken_until = timezone.now() + timedelta(seconds=TAKEN_SECONDS)
    if mine.update(taken_until=taken_until, progress=progress) != 1:
        raise StateConflict(f"{comparison} is another worker's by now.")


def comparison_done(*, comparison: VersionComparison, result: Mapping[str, Any]) -> None:
    """Raises StateConflict when it is another worker's by now."""
    _end(comparison, ComparisonState.DONE, result=result)


def comparison_failed(*, comparison: VersionComparison, reason: str, message: str) -> None:
    """Raises StateConflict when it is another worker's by now."""
    _end(comparison, ComparisonState.FAILED, problem_reason=reason, problem=message)


def _end(comparison: VersionComparison, to: str, **values: Any) -> None:
    ended = {"taken_until": None, "progress": None, "ended_at": timezone.now()}
    move(comparison, COMPARISON, to, where={"takes": comparison.takes}, **ended, **values)


def _may_ask_again(comparison: VersionComparison) -> bool:
    if comparison.ended_at is None or comparison.ended_at > timezone.now() - timedelta(seconds=AGAIN_SECONDS):
        return False
    return not obstacle(comparison.version, comparison.other)


def _ask_again(comparison: VersionComparison) -> VersionComparison:
    found = {"ended_at": comparison.ended_at}
    fresh = {"asked_at": timezone.now(), "takes": 0, "problem": "", "problem_reason": "", "ended_at": None}
    try:
        move(comparison, COMPARISON, ComparisonState.ASKED, where=found, **fresh)
    except StateConflict:
        comparison.refresh_from_db()  # Somebody else asked at this very moment.
    else:
        after_commit("comparison.run", comparison.pk)
    return comparison


def _too_many(version: Version) -> bool:
    of_tenant = VersionComparison.objects.of(version.service.tenant)
    return of_tenant.filter(state__in=COMPARISON_UNDER_WAY).count() >= UNDER_WAY_MAX
