"""Cold standby: what was live is unloaded a while after a switch, and loaded again before anything switches to it.

So is whatever else is not loaded when somebody wants to switch to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from audit.actions import record
from catalog.models import Service
from common.actor import Actor
from common.errors import Conflict
from versions import routes
from versions.actions.alarms import reload_alert, reload_alert_end
from versions.actions.replicas import orders_set, replicas_let_in, replicas_reload
from versions.actions.retirement import replicas_withdraw
from versions.models import Node, Reload, Replica, Version
from versions.selectors import load_seconds, open_reload
from versions.states import ReplicaState, VersionState

HELD_REASON_CHARACTERS_MAX = 500
# How the reason of a hold begins that a rollback has left which did not happen.
ROLLBACK_FAILED = "The rollback did not happen: "


@transaction.atomic
def version_cool(*, version: Version) -> bool:
    """Takes a version that was live out of the routes, to be unloaded when no call can be under way.

    False when it went live, or on its way out, meanwhile, or is being switched to.
    """
    # Taken first, so that a switch to this version came before, and is seen, or finds it cold.
    service = Service.objects.filter(pk=version.service_id, deleted_at__isnull=True)
    if not service.exclude(live_version=version.number).update(route_generation=F("route_generation") + 1):
        return False
    hot = Version.objects.filter(pk=version.pk, state=VersionState.READY, cold_at__isnull=True)
    routes.publish_after_commit(version.service_id)
    return bool(hot.update(cold_at=Now(), unrouted_at=None))


@transaction.atomic
def version_unload_cold(*, version: Version) -> int:
    """Takes a cold version off its nodes, unless it went live, or is being loaded again, at this very moment."""
    # A switch and a reload write to the same row, so that one of us comes first.
    cold = Version.objects.filter(pk=version.pk, cold_at__isnull=False, unrouted_at__isnull=False)
    if cold.update(number=F("number")) != 1 or open_reload(version.service) is not None:
        return 0
    return replicas_withdraw(Replica.objects.filter(version=version))


@transaction.atomic
def reload_request(
    *, actor: Actor, service: Service, version: Version, kind: str = "", left: Version | None = None, reason: str = ""
) -> Reload:
    """Asks for a version to be loaded and checked and, with a `kind`, to be switched to after that.

    One that was live is cold from here on, so that no route names a replica of it that nobody has checked. A rollback
    (`left` is what it leaves) puts the service on hold at once, so that no build goes live meanwhile. A load that
    nobody asked for gives way to one for a switch. Raises Conflict (RELOAD_UNDER_WAY) when a version of the service is
    being loaded already.
    """
    # The service first and then the version, as a switch does.
    Service.objects.filter(pk=service.pk).update(route_generation=F("route_generation"))
    Version.objects.filter(pk=version.pk).update(number=F("number"))
    if kind:
        Reload.objects.filter(service=service, ended_at__isnull=True, kind="").update(ended_at=Now())
    asked = {"kind": kind, "from_version": service.live_version, "live_generation": service.live_generation}
    said = {"actor_kind": actor.kind, "actor": actor.name, "reason": reason}
    try:
        with transaction.atomic():
            reload = Reload.objects.create(service=service, version=version, **asked, **said)
    except IntegrityError as error:
        message = f"A version of {service.name} is being loaded already. Wait for it, or activate another one."
        raise Conflict(message, reason="RELOAD_UNDER_WAY") from error
    lost = Version.objects.filter(pk=version.pk, activated_at__isnull=False, cold_at__isnull=True)
    if lost.update(cold_at=Now(), unrouted_at=Now()):
        Service.objects.filter(pk=service.pk).update(route_generation=F("route_generation") + 1)
        routes.publish_after_commit(service.pk)
    if left is not None:
        ours = Q(held_at__isnull=True) | Q(held_reason__startswith=ROLLBACK_FAILED)
        held = Service.objects.filter(ours, pk=service.pk)
        held.update(held_at=Now(), held_reason=_rolling_back(reload))
    _audit(reload, actor, "version.reload")
    return reload


def reload_place(*, reload: Reload, nodes: Iterable[Node]) -> None:
    """Wants the version on these nodes. Raises StateConflict when it is on its way out."""
    replicas_reload(version=reload.version, nodes=nodes)


@transaction.atomic
def reload_order(*, reload: Reload) -> None:
    """Has every replica that is loaded warm up, and prove that it answers rightly."""
    orders_set(reload.version, lambda _: list(reload_orders(reload)))


@transaction.atomic
def reload_end(*, reload: Reload, failure: str = "", actor: Actor, is_wanted: bool = True) -> bool:
    """Ends a reload; False when somebody else has ended it.

    One that failed and `is_wanted` still raises an alert, and leaves no replica behind that could not load the version:
    the next try begins anew, on other nodes if there are any. The hold of a rollback that failed says so.
    """
    # The service first, as a switch does.
    Service.objects.filter(pk=reload.service_id).update(route_generation=F("route_generation"))
    if Reload.objects.filter(pk=reload.pk, ended_at__isnull=True).update(ended_at=Now(), failure=failure) != 1:
        return False
    if failure:
        loading = Service.objects.filter(pk=reload.service_id, held_reason=_rolling_back(reload))
        loading.update(held_reason=f"{ROLLBACK_FAILED}{failure}"[:HELD_REASON_CHARACTERS_MAX])
    orders_set(reload.version, lambda _: [])
    if not failure or not is_wanted:
        reload_alert_end(reload.version)
        return True
    replicas_withdraw(Replica.objects.filter(version=reload.version, state=ReplicaState.FAILED))
    reload_alert(version=reload.version, failure=failure)
    _audit(reload, actor, "version.reload_failed")
    return True


@transaction.atomic
def reload_keep(*, reload: Reload, actor: Actor) -> None:
    """Ends a reload that was for no switch: the version is hot again, and in the route."""
    if reload_end(reload=reload, actor=actor):
        replicas_let_in(version=reload.version)
        Version.objects.filter(pk=reload.version_id).update(cold_at=None, unrouted_at=None)
        Service.objects.filter(pk=reload.service_id).update(route_generation=F("route_generation") + 1)
        routes.publish_after_commit(reload.service_id)


def reload_orders(reload: Reload) -> list[dict[str, Any]]:
    return [{"order_id": f"reload-{reload.pk}-{kind.lower()}", "kind": kind} for kind in ("WARM", "CHECK")]


def reload_told(reload: Reload) -> str:
    """What happens now and how long it takes, for who asked."""
    seconds = load_seconds(reload.version)
    took = f"It took {seconds:.0f} s when it was built." if seconds is not None else "How long it takes is not known."
    because = ", because versions.standby is cold" if _is_cold_by_policy(reload) else ""
    still = f"Version {reload.from_version} goes on answering until then. " if reload.from_version else ""
    return (
        f"Version {reload.version.number} is not loaded{because}. It is being loaded, warmed up and checked now, and "
        f"answers by itself after that. {still}{took}"
    )


def _is_cold_by_policy(reload: Reload) -> bool:
    was_live = reload.version.activated_at is not None
    return was_live and bool(reload.service.spec["versions"]["standby"] == "cold")


def _rolling_back(reload: Reload) -> str:
    """Why the service is on hold while the reload of a rollback is under way."""
    return f"Rolling back from version {reload.from_version}: version {reload.version.number} is being loaded."


def _audit(reload: Reload, actor: Actor, verb: str) -> None:
    service = reload.service
    after: dict[str, Any] = {"kind": reload.kind, "from_version": reload.from_version}
    record(
        actor=actor,
        verb=verb,
        tenant=service.tenant.name,
        service=service.name,
        target=f"version {reload.version.number}",
        reason=reload.reason,
        after=after,
    )
