"""What a build finds and makes: its drop, its version, the version's evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from audit.actions import record
from catalog.models import Service
from common.actor import SYSTEM
from common.transitions import move
from versions.actions.builds import builds_supersede
from versions.actions.claims import Claim, FenceLost, fenced, fenced_build
from versions.actions.moves import group_follow
from versions.groups import members_of
from versions.models import Build, Projection, Version
from versions.selectors import version_of
from versions.states import BUILD_UNFINISHED, VERSION, BuildState, VersionState


@dataclass(frozen=True)
class Completed:
    """What a published artifact is; becomes columns of its version and never changes again."""

    artifact: str
    manifest_sha256: str
    items: int
    searchable_items: int
    bytes: int
    engine: str
    engine_params: dict[str, Any]
    search_params: dict[str, Any]
    model_version: str = ""
    recall: float | None = None
    report: dict[str, Any] = field(default_factory=dict)


@transaction.atomic
def drop_resolve(claim: Claim, *, name: str, fingerprint: str, drop: dict[str, Any]) -> Build | None:
    """Says which drop the build is of. Returns the build that it repeats, or None when it is the first of its kind.

    The same drop under the same spec is the same build, among unfinished and successful ones; `force` (which a retry
    sets too) passes by. Builds that are held, or wait for their group, and whose drop is older than this one are
    cancelled; and the others of its group are asked to move with it.
    """
    build = fenced_build(claim)
    service = _locked(build.service)
    twin = None if build.force else _twin(build, fingerprint)
    if twin is not None:
        # For programs; the message says the same to people.
        same_as = {"build": twin.number, "version": twin.version_number, "state": twin.state}
        Build.objects.filter(pk=build.pk).update(drop_name=name, drop=drop, report={**build.report, "same_as": same_as})
        return twin
    Build.objects.filter(pk=build.pk).update(drop_name=name, drop=drop, drop_fingerprint=fingerprint)
    waits = Q(state=BuildState.HELD) | Q(state=BuildState.RUNNING, parked=True)
    held = Build.objects.of(service.tenant).filter(waits, service=service)
    # Compared here: a database may sort texts by a language, and the greatest name is the newest drop by its letters.
    older = [each for each in held.select_related("service__tenant") if each.drop_name <= name]
    builds_supersede(older, by=build.number)
    group_follow(build)
    return None


@transaction.atomic
def drop_blame(claim: Claim, *, name: str) -> None:
    """Says which drop the build could not begin with; empty: none was found.

    It is shown only. `drop_name` stays what was asked for, so that a retry looks for the newest drop again.
    """
    fenced(claim, drop={"name": name} if name else {})


@transaction.atomic
def work_dir_set(claim: Claim, work_dir: str) -> None:
    fenced(claim, work_dir=work_dir)


@transaction.atomic
def version_reserve(claim: Claim) -> Version:
    """The version that this build makes; a number is given out on the first call, and after a failure the next one."""
    build = fenced_build(claim)
    present = version_of(build)
    if present is not None and present.state in (VersionState.BUILDING, VersionState.READY):
        return present
    Service.objects.filter(pk=build.service_id).update(versions_count=F("versions_count") + 1)
    number = Service.objects.values_list("versions_count", flat=True).get(pk=build.service_id)
    Build.objects.filter(pk=build.pk).update(version_number=number)
    return Version.objects.create(
        service=build.service, number=number, build=build, spec=build.spec, created_by=build.requested_by
    )


@transaction.atomic
def version_complete(
    claim: Claim, *, version: Version, completed: Completed, projection: dict[str, Any] | None = None
) -> Version:
    """Publishes the version: from here on it is READY and nothing of it changes. Raises FenceLost.

    `projection` is its items' Projection, as {"sample", "plane"}.
    """
    build = fenced_build(claim)
    version = Version.objects.select_related("service__tenant").get(pk=version.pk)
    if version.number != build.version_number:
        raise FenceLost(f"Version {version.number} is not what build {build.number} makes.")
    move(version, VERSION, VersionState.READY, completed_at=Now(), **vars(completed))
    if projection is not None:
        Projection.objects.create(version=version, **projection)
    after = {"items": completed.items, "engine": completed.engine, "artifact": completed.artifact}
    record(
        actor=SYSTEM,
        verb="version.complete",
        tenant=version.service.tenant.name,
        service=version.service.name,
        target=f"version {version.number}",
        after=after,
    )
    return version


@transaction.atomic
def version_measured(claim: Claim, *, version: Version, p99_ms: float) -> None:
    """Records the latency that was measured when the version was warmed up: evidence, written once, before activation.

    It cannot be part of `version_complete`, because only a loaded version has a latency.
    """
    fenced(claim)
    Version.objects.filter(pk=version.pk, p99_ms__isnull=True, activated_at__isnull=True).update(p99_ms=p99_ms)


def _locked(service: Service) -> Service:
    """With the others of its group, always in the same order, so that two of them do not wait for each other.

    An UPDATE that changes nothing holds a row until the end of the transaction, on SQLite and PostgreSQL alike.
    """
    for key in members_of(service).values_list("pk", flat=True):
        Service.objects.filter(pk=key).update(builds_count=F("builds_count"))
    return service


def _twin(build: Build, fingerprint: str) -> Build | None:
    same = Build.objects.of(build.service.tenant).filter(
        service=build.service, drop_fingerprint=fingerprint, spec_generation=build.spec_generation
    )
    states = [*BUILD_UNFINISHED, BuildState.SUCCEEDED]
    return same.filter(state__in=states).exclude(pk=build.pk).order_by("number").first()
