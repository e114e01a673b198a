"""Where versions are loaded: what the nodes shall hold, and what they say they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from catalog.models import Service
from common.errors import StateConflict
from common.transitions import move
from versions import routes
from versions.actions.claims import Claim, fenced
from versions.actions.retirement import placements_changed, replicas_withdraw
from versions.models import Node, Replica, Version
from versions.seen import NodeSeen, ReplicaSeen
from versions.selectors import platform_epoch
from versions.states import REPLICA, ReplicaState, VersionState

# A node's figures are written when they change by this share, or this often: changes, not heartbeats.
FIGURE_CHANGE_SHARE = 0.1
NODE_SEEN_SECONDS = 5
ERROR_CHARACTERS_MAX = 4_000


@transaction.atomic
def replicas_place(claim: Claim, *, version: Version, nodes: Iterable[Node]) -> None:
    """Wants one replica of `version` on each of `nodes`; one that is there already stays as it is."""
    fenced(claim)
    _place(version, nodes)


@transaction.atomic
def replicas_replenish(*, version: Version, nodes: Iterable[Node]) -> None:
    """Wants one more replica of a READY version on each of `nodes`, because some that it had are lost.

    They are withheld until they are warm and have proved their answers (`replica_join`). Raises StateConflict when the
    version is on its way out.
    """
    _refuse_leaving(version)
    _place(version, nodes, withheld=True)


@transaction.atomic
def replicas_reload(*, version: Version, nodes: Iterable[Node]) -> None:
    """Wants one replica of a READY version on each of `nodes`; no route names it before it was checked and switched to.

    Raises StateConflict when the version is on its way out.
    """
    _refuse_leaving(version)
    _place(version, nodes)


@transaction.atomic
def replicas_let_in(*, version: Version) -> None:
    """Of a version that was checked on all its nodes: none is withheld any more for being new there."""
    Replica.objects.filter(version=version, withheld=True, sick_reason="").update(withheld=False)


def _refuse_leaving(version: Version) -> None:
    # A write that changes nothing, so that a retirement comes before or after.
    if Version.objects.filter(pk=version.pk, state=VersionState.READY).update(number=F("number")) != 1:
        raise StateConflict(f"Version {version.number} is not READY any more.")


def _place(version: Version, nodes: Iterable[Node], *, withheld: bool = False) -> None:
    changed = []
    for node in nodes:
        replica, made = Replica.objects.get_or_create(version=version, node=node, defaults={"withheld": withheld})
        if not made and replica.state in (ReplicaState.WITHDRAWN, ReplicaState.GONE):
            move(replica, REPLICA, ReplicaState.WANTED, **{**_BLANK, "withheld": withheld})
            made = True
        if made:
            changed.append(node.pk)
    placements_changed(changed)


@transaction.atomic
def replica_drop(claim: Claim, *, replica: Replica) -> None:
    """Takes one replica off its node, because it cannot be loaded there."""
    fenced(claim)
    replicas_withdraw([replica])


@transaction.atomic
def orders_give(
    claim: Claim, *, version: Version, kind: str, order_id: str, beside: Version | None = None, top_k: int = 0
) -> None:
    """Gives every READY replica of `version` this one order (WARM, CHECK or COMPARE), instead of those it had.

    With `beside` (of COMPARE) only those on whose node that version is READY too.
    """
    fenced(claim)
    order = {"order_id": order_id, "kind": kind}
    if beside is None:
        orders_set(version, lambda _: [order])
        return
    others = dict(Replica.objects.filter(version=beside, state=ReplicaState.READY).values_list("node_id", "pk"))
    more = {"beside_version": beside.number, "top_k": top_k}
    orders_set(
        version,
        lambda replica: (
            [{**order, **more, "beside": f"r{others[replica.node_id]}"}] if replica.node_id in others else []
        ),
    )


@transaction.atomic
def orders_withdraw(claim: Claim, *, version: Version) -> None:
    """Takes back all orders of `version`; else an agent that starts anew would carry them out again."""
    fenced(claim)
    orders_set(version, lambda _: [])


def node_report(seen: NodeSeen) -> None:
    """Turns what changed in a node's report into rows. Reports that come twice, or at once, do no harm."""
    node, _ = Node.objects.get_or_create(name=seen.name)
    _note_node(node, seen)
    reported = {each.replica_id: each for each in seen.replicas}
    present = Replica.objects.filter(node=node).exclude(state=ReplicaState.GONE)
    replicas = list(present.select_related("version"))
    # Read after the replicas: a report from before a withdrawal does not say that it was carried out.
    generation = Node.objects.values_list("placements_generation", flat=True).get(pk=node.pk)
    is_current = seen.placements >= (platform_epoch(), generation)
    for replica in replicas:
        one = reported.get(replica.pk)
        if one is not None:
            # One that is wanted anew may be reported by an agent that has not heard of it: as it was before.
            if is_current or replica.state != ReplicaState.WANTED:
                replica_report(replica, one)
        elif replica.state == ReplicaState.WITHDRAWN and is_current and replica.pk not in seen.leaving:
            _try_move(replica, ReplicaState.GONE, address="", rss_bytes=0)


def replica_report(replica: Replica, seen: ReplicaSeen) -> None:
    """Writes what changed. Raises the service's route generation when gateways must hear of it."""
    if replica.state in (ReplicaState.WITHDRAWN, ReplicaState.GONE):
        return
    # A respawned replica keeps its address, so a gateway may keep trying it meanwhile.
    address = seen.address if seen.state == ReplicaState.READY else replica.address
    values = _changes(replica, seen, address)
    if seen.state == replica.state and not values:
        return
    with transaction.atomic():
        if address != replica.address or _is_routable(seen.state) != _is_routable(replica.state):
            tell_gateways(replica)
        if seen.state != replica.state:
            _try_move(replica, seen.state, changed_at=Now(), **values)
        else:
            Replica.objects.filter(pk=replica.pk, state=replica.state).update(changed_at=Now(), **values)


_UNAUDITED = {"verdict": "", "agreement": None, "p99_ms": None, "served_version": None, "audited_at": None}
_UNLOADED = {"address": "", "orders": [], "results": {}, "error": "", "items": 0, "rss_bytes": 0}
_BLANK: dict[str, Any] = {**_UNLOADED, **_UNAUDITED, "cures_in_a_row": 0, "cured_at": None}


def orders_set(version: Version, orders_of: Callable[[Replica], list[dict[str, Any]]]) -> None:
    """Every READY replica of `version` gets these orders instead of those it had. In a transaction."""
    changed = []
    for replica in Replica.objects.filter(version=version, state=ReplicaState.READY):
        orders = orders_of(replica)
        if replica.orders != orders:
            Replica.objects.filter(pk=replica.pk).update(orders=orders)
            changed.append(replica.node_id)
    placements_changed(changed)


def _note_node(node: Node, seen: NodeSeen) -> None:
    figures = {
        "cpu_count": seen.cpu_count,
        "memory_total_bytes": seen.memory_total_bytes,
        "memory_available_bytes": seen.memory_available_bytes,
    }
    known = Node.objects.filter(pk=node.pk)
    if any(_differs(getattr(node, name), value) for name, value in figures.items()) or node.seen_at is None:
        known.update(seen_at=Now(), **figures)
        return
    due = known.filter(seen_at__lt=Now() - timedelta(seconds=NODE_SEEN_SECONDS))
    # An UPDATE takes the database's write lock even when it finds nothing, and this is asked many times a second.
    if due.exists():
        due.update(seen_at=Now(), **figures)


def _changes(replica: Replica, seen: ReplicaSeen, address: str) -> dict[str, Any]:
    results = {**replica.results, **seen.results}
    values: dict[str, Any] = {
        "address": address,
        "items": seen.items,
        "respawns": seen.respawns,
        "error": seen.error[:ERROR_CHARACTERS_MAX],
        "results": results,
    }
    changed = {name: value for name, value in values.items() if getattr(replica, name) != value}
    if changed or _differs(replica.rss_bytes, seen.rss_bytes):
        changed["rss_bytes"] = seen.rss_bytes
    return changed


def _differs(known: int, value: int) -> bool:
    return abs(known - value) > FIGURE_CHANGE_SHARE * max(known, value)


def _is_routable(state: str) -> bool:
    return state in (ReplicaState.READY, ReplicaState.LOADING)


def tell_gateways(replica: Replica) -> None:
    """A version that is not READY is in no route, and a deleted service's tombstone stays as it is."""
    if replica.version.state != VersionState.READY:
        return
    service_id = replica.version.service_id
    living = Service.objects.filter(pk=service_id, deleted_at__isnull=True)
    if living.update(route_generation=F("route_generation") + 1):
        routes.publish_after_commit(service_id)


def _try_move(replica: Replica, state: str, **values: Any) -> None:
    try:
        move(replica, REPLICA, state, where={"state": replica.state}, **values)
    except StateConflict:
        return  # Another reader of the same report got there first, or the replica was withdrawn meanwhile.
