"""Giving the replicas of a version an order, and waiting for what came of it."""

from __future__ import annotations

from typing import Any

from versions import actions
from versions.models import Replica, Version
from versions.states import ReplicaState
from workers import patience
from workers.context import BuildContext
from workers.outcomes import StepFailed, Wait

ORDER_SECONDS_MAX = 900
WAIT_SECONDS = 1.0

Results = dict[str, dict[str, Any]]


def carry_out(
    ctx: BuildContext,
    version: Version,
    kind: str,
    order_id: str,
    detail: str,
    *,
    beside: Version | None = None,
    top_k: int = 0,
) -> Results | Wait:
    """What each replica answered, by node; a Wait (`detail`) while one has not yet. The same order is given once.

    With `beside` only replicas on whose node that version is loaded are asked, which may be none of them.
    Raises StepFailed: replica.lost when none is loaded, replica.order_timeout.
    """
    # What was answered once is not ordered again, even when another order was given since.
    results = _results(version, order_id, beside)
    if results is not None:
        return results
    actions.orders_give(ctx.claim, version=version, kind=kind, order_id=order_id, beside=beside, top_k=top_k)
    results = ctx.poll(lambda: _results(version, order_id, beside))
    if results is not None:
        return results
    # For this order: a step gives several, one after the other.
    if patience.waited_seconds(ctx, order_id) > ORDER_SECONDS_MAX:
        message = f"{kind} was not carried out within {ORDER_SECONDS_MAX} s."
        raise StepFailed("replica.order_timeout", message)
    return Wait(WAIT_SECONDS, detail=detail, context=patience.waits(ctx, order_id))


def failures(results: Results) -> str:
    """The errors of those that failed, in one line; empty when all went well."""
    return " ".join(f"{node}: {result['error']}" for node, result in results.items() if not result["ok"])


def _results(version: Version, order_id: str, beside: Version | None) -> Results | None:
    loaded = Replica.objects.filter(version=version, state__in=[ReplicaState.READY, ReplicaState.LOADING])
    replicas = list(loaded.select_related("node"))
    if not replicas:
        raise StepFailed("replica.lost", "No replica of the version is loaded any more.")
    if beside is not None:
        shared = set(Replica.objects.filter(version=beside, state=ReplicaState.READY).values_list("node_id", flat=True))
        replicas = [replica for replica in replicas if replica.node_id in shared]
    answered = {replica.node.name: replica.results[order_id] for replica in replicas if order_id in replica.results}
    return answered if len(answered) == len(replicas) else None
