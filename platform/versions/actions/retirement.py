"""How versions go: out of the routes, off the nodes, off the disk; and what becomes of those that never served."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from audit.actions import record
from catalog.models import Service
from common.actor import SYSTEM
from common.dispatch import call_after_commit
from common.errors import FailedPrecondition, StateConflict
from common.transitions import move
from versions import routes
from versions.actions.alarms import reload_alert_end
from versions.models import Build, Node, Projection, Replica, Version
from versions.selectors import open_reloads, rollback_target, version_of
from versions.states import REPLICA, VERSION, BuildState, ReplicaState, VersionState


@transaction.atomic
def version_retire(*, version: Version) -> Version:
    """Takes a READY version out of the routes for good; it is unloaded and deleted later, by the sweeper.

    Raises FailedPrecondition (VERSION_IS_LIVE, VERSION_IS_ROLLBACK_TARGET), unless the service is deleted.
    """
    # Taken first, so that a switch to this version either came before, and is seen, or finds it RETIRING. The row of a
    # deleted service is left alone: its tombstone must stay older than the route of the name's next owner.
    if not _locked(version).filter(deleted_at__isnull=False).exists():
        _refuse_needed(version)
        _locked(version, route_generation=F("route_generation") + 1)
        routes.publish_after_commit(version.service_id)
    move(version, VERSION, VersionState.RETIRING, where={"state": VersionState.READY}, retiring_at=Now())
    # Its drain begins anew, unless it was cold, and no gateway has routed to it for long.
    Version.objects.filter(pk=version.pk, cold_at__isnull=True).update(unrouted_at=None)
    reload_alert_end(version)
    _audit(version, "version.retire")
    return version


def version_unrouted(*, version: Version) -> None:
    """Notes that no gateway routes to this retiring or cold version any more; its drain begins here.

    One that became live again meanwhile is left alone.
    """
    leaving = Version.objects.filter(Q(state=VersionState.RETIRING) | Q(cold_at__isnull=False), pk=version.pk)
    leaving.filter(unrouted_at__isnull=True).update(unrouted_at=Now())


@transaction.atomic
def version_unload_held(*, version: Version) -> int:
    """Takes a version that waits before a guard off its nodes, unless somebody lets it go on at this very moment."""
    # Writes that change nothing lock both rows in the order in which a switch does; it writes activated_at.
    held = Build.objects.filter(pk=version.build_id, state=BuildState.HELD)
    never_live = Version.objects.filter(pk=version.pk, activated_at__isnull=True)
    if held.update(fence=F("fence")) != 1 or never_live.update(number=F("number")) != 1:
        return 0
    # Somebody wants it live, and what is loaded now is for that. It stays until the reload has ended.
    if open_reloads().filter(version=version).exists():
        return 0
    _gateways_forget_candidates_after_commit(version)
    return replicas_withdraw(Replica.objects.filter(version=version))


@transaction.atomic
def version_unload(*, version: Version) -> int:
    """Takes every replica of `version` off its node; says how many. The nodes' agents stop them."""
    return replicas_withdraw(Replica.objects.filter(version=version))


@transaction.atomic
def version_retired(*, version: Version) -> Version:
    """The last state: nobody opens the files any more, and the sweeper may delete them."""
    move(version, VERSION, VersionState.RETIRED)
    _audit(version, "version.retired")
    return version


@transaction.atomic
def version_files_deleted(*, version: Version) -> None:
    """Its projection goes with the files that it shows."""
    Projection.objects.filter(version=version).delete()
    Version.objects.filter(pk=version.pk).update(files_deleted_at=Now())


def work_dir_deleted(*, build: Build) -> None:
    """Says that the working folder of an ended build is gone, unless a retry has begun meanwhile."""
    Build.objects.filter(pk=build.pk, work_dir=build.work_dir, fence=build.fence, state=build.state).update(work_dir="")


def build_abandon(build: Build) -> None:
    """Fails the version that `build` was making and unloads it, unless it has been live. In a transaction."""
    version = version_of(build)
    if version is None:
        return
    try:
        # An activation writes activated_at to the same row: of the two, one comes first and the other is refused.
        move(version, VERSION, VersionState.FAILED, where={"activated_at__isnull": True})
    except StateConflict:
        return
    _gateways_forget_candidates_after_commit(version)
    replicas_withdraw(Replica.objects.filter(version=version))


def replicas_withdraw(replicas: Iterable[Replica]) -> int:
    """Takes these replicas off their nodes; says how many were there. In a transaction."""
    moved = []
    for replica in replicas:
        try:
            moved.append(move(replica, REPLICA, ReplicaState.WITHDRAWN, orders=[]))
        except StateConflict:
            continue  # Withdrawn or gone already.
    placements_changed({replica.node_id for replica in moved})
    return len(moved)


def placements_changed(node_ids: Iterable[int]) -> None:
    """Tells the agents of these nodes, once the transaction has committed."""
    for node_id in sorted(set(node_ids)):
        Node.objects.filter(pk=node_id).update(placements_generation=F("placements_generation") + 1)
        routes.publish_placements_after_commit(node_id)


def _gateways_forget_candidates_after_commit(version: Version) -> None:
    """Publishes the route anew once this version is off its nodes.

    In a transaction of its own: a switch locks the service before the version, and here it is the other way round. Is
    it never carried out, who requires that version hears that it cannot be reached instead of that it is not loaded.
    """
    call_after_commit(partial(_route_renew, version.service_id))


def _route_renew(service_id: int) -> None:
    living = Service.objects.filter(pk=service_id, deleted_at__isnull=True)
    if living.update(route_generation=F("route_generation") + 1):
        routes.publish_after_commit(service_id)


def _locked(version: Version, **values: Any) -> QuerySet[Service]:
    """The row of the version's service; an UPDATE locks it on SQLite and PostgreSQL alike."""
    service = Service.objects.filter(pk=version.service_id)
    service.update(**(values or {"route_generation": F("route_generation")}))
    return service


def _refuse_needed(version: Version) -> None:
    service = Service.objects.select_related("tenant").get(pk=version.service_id)
    if service.live_version == version.number:
        raise FailedPrecondition(f"Version {version.number} is live and stays.", reason="VERSION_IS_LIVE")
    if rollback_target(service) == version:
        message = f"Version {version.number} is what a rollback goes to, and stays."
        raise FailedPrecondition(message, reason="VERSION_IS_ROLLBACK_TARGET")


def _audit(version: Version, verb: str) -> None:
    service = version.service
    target = f"version {version.number}"
    record(actor=SYSTEM, verb=verb, tenant=service.tenant.name, service=service.name, target=target)
