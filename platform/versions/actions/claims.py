"""Who may write to a running build: the holder of its fence, for as long as nobody has taken a newer one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from common.errors import Conflict, StateConflict
from common.transitions import move
from tenants.models import Quota
from versions.actions.lines import say
from versions.models import Build
from versions.queue import running_builds
from versions.states import BUILD, BuildState, LineLevel

# A worker that has not renewed for this long is taken for dead. All times are the database's.
LEASE_SECONDS = 15


@dataclass(frozen=True)
class Claim:
    """The right to write to build `build_id` under `fence`. `crashes` tells how many workers died with it before."""

    build_id: int
    fence: int
    crashes: int = 0


class FenceLost(Conflict):
    """Another worker has claimed the build, or it was ended meanwhile; whoever meets this stops quietly."""

    default_reason = "FENCE_LOST"


class CancelAsked(Conflict):
    """Somebody has asked to cancel the build, and was told that it will be."""

    default_reason = "CANCEL_ASKED"


@transaction.atomic
def build_claim(build_id: int, *, owner: str) -> Claim | None:
    """Claims a build that waits for a worker: never claimed, its wake-up due, or its worker's lease run out.

    None when there is nothing to claim now: another worker has it, it has ended, or its tenant's
    `builds_at_once_max` builds are running already.
    """
    build = Build.objects.select_related("service").filter(pk=build_id).first()
    if build is None or not _has_room(build):
        return None
    abandoned = _is_abandoned(build)
    try:
        move(
            build,
            BUILD,
            BuildState.RUNNING,
            where={"fence": build.fence, "state": build.state, **_free_when(build)},
            fence=F("fence") + 1,
            crashes=F("crashes") + (1 if abandoned else 0),
            lease_owner=owner[:100],
            lease_until=lease_end(),
            wake_at=None,
            parked=False,
            started_at=Coalesce("started_at", Now()),
        )
    except StateConflict:
        return None
    if abandoned:
        say(build.pk, "Its worker is not heard of any more; another one goes on.", level=LineLevel.WARNING)
    return Claim(build_id=build.pk, fence=build.fence, crashes=build.crashes)


def lease_renew(claim: Claim) -> bool:
    """Renews the lease; True when somebody has asked to cancel the build. Raises FenceLost."""
    fenced(claim)
    return _is_cancel_asked(claim)


def fenced_unless_cancelled(claim: Claim) -> None:
    """For what cannot be taken back: no cancel is accepted from here to the end of the transaction.

    Raises FenceLost, CancelAsked.
    """
    fenced(claim)
    if _is_cancel_asked(claim):
        raise CancelAsked(f"Build {claim.build_id} shall be cancelled.")


def fenced(claim: Claim, **values: Any) -> None:
    """Renews the lease and writes `values` to the build; in a transaction it also locks the row. Raises FenceLost.

    Every write of a worker begins with this, so that a worker that lost its build can write nothing.
    """
    held = Build.objects.filter(pk=claim.build_id, fence=claim.fence, state=BuildState.RUNNING)
    if held.update(**{"lease_until": lease_end(), **values}) != 1:
        raise FenceLost(f"Build {claim.build_id} is not held under fence {claim.fence} any more.")


def fenced_build(claim: Claim) -> Build:
    """The build's row as it is now, after `fenced`. Raises FenceLost."""
    fenced(claim)
    return Build.objects.select_related("service__tenant").get(pk=claim.build_id)


def lease_end() -> Any:
    return Now() + timedelta(seconds=LEASE_SECONDS)


def _is_cancel_asked(claim: Claim) -> bool:
    return Build.objects.filter(pk=claim.build_id, cancel_requested_at__isnull=False).exists()


def _has_room(build: Build) -> bool:
    """Whether the tenant may have one more build running. Locks its quota, so that two claims count each other."""
    if build.state != BuildState.PENDING:
        return True
    tenant = build.service.tenant_id
    Quota.objects.filter(tenant=tenant).update(builds_at_once_max=F("builds_at_once_max"))
    limit = Quota.objects.values_list("builds_at_once_max", flat=True).get(tenant=tenant)
    return running_builds().filter(service__tenant=tenant).count() < limit


def _free_when(build: Build) -> dict[str, Any]:
    """When a build in this state may be claimed, as conditions of the UPDATE."""
    if build.state == BuildState.PENDING:
        return {}
    if build.wake_at is not None:
        return {"wake_at__lte": Now()}
    return {"wake_at__isnull": True, "lease_until__lt": Now()}


def _is_abandoned(build: Build) -> bool:
    return build.state == BuildState.RUNNING and build.wake_at is None
