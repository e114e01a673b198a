"""Has the version loaded beside the live one, on as many nodes as the service wants replicas.

It was admitted before it was built; that was hours ago, and a held build has given its memory back since. So each node
is asked for its room again, by the rule of `admit`.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from versions import actions
from versions.models import Replica, Version
from versions.selectors import Admission, admissions
from versions.sizes import replica_bytes
from versions.states import PLACED, ReplicaState
from workers import patience, rooms
from workers.context import BuildContext
from workers.outcomes import Done, Hold, Outcome, StepFailed, Wait

# How long a node may be away, or not yet there, before the build is given up.
NODE_WAIT_SECONDS_MAX = 120
LOAD_SECONDS_MAX = 1_800
WAIT_SECONDS = 1.0
ROOM_WAIT_SECONDS = 5.0
REMEDY = "Add a node or memory, or keep fewer versions (versions.keep); then override to look again."
# What the step waits for.
NODE, ROOM, LOAD = "node", "room", "load"


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: replica.load_failed, replica.no_node, replica.load_timeout."""
    version, wanted = ctx.version, int(ctx.spec["replicas"]["count"])
    # Of this version: a retry makes another one, which may be loaded where this one could not.
    failed_key = f"failed_nodes_v{version.number}"
    failed = {**ctx.values.get(failed_key, {}), **_drop_failed(ctx, version)}
    missing, short = _place_missing(ctx, version, wanted, failed)
    if short is not None:
        return _without_room(ctx, short, {failed_key: failed})
    ready = ctx.poll(lambda: _settled(version, wanted - missing))
    if ready == wanted:
        return Done(report={"placed": _nodes(version)}, detail=", ".join(_nodes(version)))
    _give_up_in_time(ctx, missing, failed)
    context = {failed_key: failed, **patience.waits(ctx, NODE if missing else LOAD)}
    return Wait(WAIT_SECONDS, detail=_waits_for(missing, wanted, ready), context=context)


def _drop_failed(ctx: BuildContext, version: Version) -> dict[str, str]:
    """Takes the version off the nodes that could not load it; their errors by name."""
    failed = {}
    for replica in _placed(version).filter(state=ReplicaState.FAILED):
        failed[replica.node.name] = replica.error
        actions.replica_drop(ctx.claim, replica=replica)
    return failed


def _place_missing(
    ctx: BuildContext, version: Version, wanted: int, failed: dict[str, str]
) -> tuple[int, rooms.Room | None]:
    """Places what is missing on nodes that have not failed, most room first.

    Says how many still are missing, and the room on a node that would be there for one and has too little.
    """
    present = list(_placed(version))
    missing = wanted - len(present)
    if missing <= 0:
        return missing, None
    ctx.poll(lambda: True)  # A node that has reported at all is known from here on.
    used = {*failed, *(replica.node.name for replica in present)}
    found = rooms.NodeRooms(_before(ctx, version)).fit(version, missing, without=used, remedy=REMEDY)
    if found.nodes:
        actions.replicas_place(ctx.claim, version=version, nodes=found.nodes)
    return missing - len(found.nodes), found.short


def _before(ctx: BuildContext, version: Version) -> list[Admission]:
    """Who stands before this build in the line for room; one that lost its place, by a hold, goes to the end."""
    place = ctx.values.get("admission")
    if place is not None:
        return [each for each in admissions() if each.build.pk != ctx.build.pk and each.number < place["number"]]
    need: dict[str, Any] = {
        "machine": socket.gethostname(),
        "pid": os.getpid(),
        "items": version.items,
        "build_bytes": 0,
        "replica_bytes": replica_bytes(version),
        "replicas": ctx.spec["replicas"]["count"],
        "disk_bytes": 0,
    }
    return actions.admission_take(ctx.claim, since=ctx.started_at.isoformat(), need=need)


def _without_room(ctx: BuildContext, short: rooms.Room, context: dict[str, Any]) -> Hold | Wait:
    """As `admit` does: what comes back without anybody's doing is waited for, the rest is held."""
    waited = patience.waited_seconds(ctx, ROOM)
    if short.need <= short.free_later and waited < settings.BUILD_WAIT_SECONDS_MAX:
        context = {**context, **patience.waits(ctx, ROOM)}
        return Wait(ROOM_WAIT_SECONDS, detail=f"Waits for room. {short.sentence}", context=context)
    return rooms.shortage([short], report={"placed": _nodes(ctx.version)}, context=context)


def _settled(version: Version, expected: int) -> int | None:
    """How many are READY, once every one of `expected` is, or one has failed; None before."""
    states = list(_placed(version).values_list("state", flat=True))
    ready = states.count(ReplicaState.READY)
    return ready if ready == expected or ReplicaState.FAILED in states else None


def _give_up_in_time(ctx: BuildContext, missing: int, failed: dict[str, str]) -> None:
    if missing and failed:
        errors = " ".join(f"{node}: {error}" for node, error in failed.items())
        raise StepFailed("replica.load_failed", f"No node could load the version. {errors}")
    if missing and patience.waited_seconds(ctx, NODE) > NODE_WAIT_SECONDS_MAX:
        message = (
            f"{missing} more nodes are needed than have reported within {NODE_WAIT_SECONDS_MAX} s. Start an agent."
        )
        raise StepFailed("replica.no_node", message)
    if patience.waited_seconds(ctx, LOAD) > LOAD_SECONDS_MAX:
        raise StepFailed("replica.load_timeout", f"The version was not loaded within {LOAD_SECONDS_MAX} s.")


def _waits_for(missing: int, wanted: int, ready: int | None) -> str:
    if missing:
        return f"{missing} of {wanted} replicas have no node yet."
    return f"{ready or 0} of {wanted} replicas are loaded."


def _nodes(version: Version) -> list[str]:
    return list(_placed(version).values_list("node__name", flat=True))


def _placed(version: Version) -> QuerySet[Replica]:
    return Replica.objects.filter(version=version, state__in=PLACED).select_related("node").order_by("node__name")
