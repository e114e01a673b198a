"""Has the version loaded beside the live one, on as many nodes as the service wants replicas."""

from __future__ import annotations

from django.db.models import QuerySet

from versions import actions
from versions.actions import PLACED
from versions.models import Replica, Version
from versions.selectors import fresh_nodes
from versions.states import ReplicaState
from workers.context import BuildContext
from workers.outcomes import Done, Outcome, StepFailed, Wait

# How long a node may be away, or not yet there, before the build is given up.
NODE_WAIT_SECONDS_MAX = 120
LOAD_SECONDS_MAX = 1_800
WAIT_SECONDS = 1.0


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: replica.load_failed, replica.no_node, replica.load_timeout."""
    version, wanted = ctx.version, int(ctx.spec["replicas"]["count"])
    # Of this version: a retry makes another one, which may be loaded where this one could not.
    failed_key = f"failed_nodes_v{version.number}"
    failed = {**ctx.values.get(failed_key, {}), **_drop_failed(ctx, version)}
    missing = _place_missing(ctx, version, wanted, failed)
    ready = ctx.poll(lambda: _settled(version, wanted - missing))
    if ready == wanted:
        return Done(report={"placed": _nodes(version)}, detail=", ".join(_nodes(version)))
    _give_up_in_time(ctx, missing, failed)
    return Wait(WAIT_SECONDS, detail=_waits_for(missing, wanted, ready), context={failed_key: failed})


def _drop_failed(ctx: BuildContext, version: Version) -> dict[str, str]:
    """Takes the version off the nodes that could not load it; their errors by name."""
    failed = {}
    for replica in _placed(version).filter(state=ReplicaState.FAILED):
        failed[replica.node.name] = replica.error
        actions.replica_drop(ctx.claim, replica=replica)
    return failed


def _place_missing(ctx: BuildContext, version: Version, wanted: int, failed: dict[str, str]) -> int:
    """Places what is missing on nodes that have not failed, most free memory first; says how many still are."""
    present = list(_placed(version))
    used = {*failed, *(replica.node.name for replica in present)}
    ctx.poll(lambda: True)  # A node that has reported at all is known from here on.
    chosen = [node for node in fresh_nodes() if node.name not in used][: max(0, wanted - len(present))]
    if chosen:
        actions.replicas_place(ctx.claim, version=version, nodes=chosen)
    return wanted - len(present) - len(chosen)


def _settled(version: Version, expected: int) -> int | None:
    """How many are READY, once every one of `expected` is, or one has failed; None before."""
    states = list(_placed(version).values_list("state", flat=True))
    ready = states.count(ReplicaState.READY)
    return ready if ready == expected or ReplicaState.FAILED in states else None


def _give_up_in_time(ctx: BuildContext, missing: int, failed: dict[str, str]) -> None:
    waited = ctx.waited_seconds
    if missing and failed:
        errors = " ".join(f"{node}: {error}" for node, error in failed.items())
        raise StepFailed("replica.load_failed", f"No node could load the version. {errors}")
    if missing and waited > NODE_WAIT_SECONDS_MAX:
        message = (
            f"{missing} more nodes are needed than have reported within {NODE_WAIT_SECONDS_MAX} s. Start an agent."
        )
        raise StepFailed("replica.no_node", message)
    if waited > LOAD_SECONDS_MAX:
        raise StepFailed("replica.load_timeout", f"The version was not loaded within {LOAD_SECONDS_MAX} s.")


def _waits_for(missing: int, wanted: int, ready: int | None) -> str:
    if missing:
        return f"{missing} of {wanted} replicas have no node yet."
    return f"{ready or 0} of {wanted} replicas are loaded."


def _nodes(version: Version) -> list[str]:
    return list(_placed(version).values_list("node__name", flat=True))


def _placed(version: Version) -> QuerySet[Replica]:
    return Replica.objects.filter(version=version, state__in=PLACED).select_related("node").order_by("node__name")
