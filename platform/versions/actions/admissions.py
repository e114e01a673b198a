"""Who may take memory and disk next: builds that are about to take much stand in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import F

from versions.actions.claims import Claim, fenced, fenced_build
from versions.models import Build, PlatformState
from versions.selectors import Admission, admissions


@transaction.atomic
def admission_take(claim: Claim, *, since: str, need: Mapping[str, Any]) -> list[Admission]:
    """Puts the build into the line with what it needs, and returns who stands before it.

    `since` names the stay in the line: while it is the same the build keeps its place, after it (a retry, a crash) it
    goes to the end. Of two at once one comes later and sees the other. Raises FenceLost.
    """
    fenced(claim)
    # A write that changes nothing, so that places are given out one after the other.
    PlatformState.objects.get_or_create(pk=1)
    PlatformState.objects.filter(pk=1).update(epoch=F("epoch"))
    others = [each for each in admissions() if each.build.pk != claim.build_id]
    build = fenced_build(claim)
    place = build.context.get("admission", {})
    if place.get("since") != since:
        place = {"since": since, "number": 1 + max((each.number for each in others), default=0)}
    Build.objects.filter(pk=build.pk).update(context={**build.context, "admission": {**place, "need": dict(need)}})
    return [each for each in others if each.number < place["number"]]
