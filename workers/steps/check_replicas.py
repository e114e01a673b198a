"""Asks each replica what the index was asked when it was built: version, count and known neighbours must be right."""

from __future__ import annotations

from versions import actions
from workers import orders
from workers.context import BuildContext
from workers.outcomes import Done, Outcome, StepFailed, Wait

WAIT_SECONDS = 1.0


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: replica.wrong_answer, replica.lost, replica.order_timeout."""
    version = ctx.version
    results = orders.carry_out(ctx, version, "CHECK", f"v{version.number}-check")
    if results is None:
        return Wait(WAIT_SECONDS, detail="checking")
    if failed := orders.failures(results):
        raise StepFailed("replica.wrong_answer", f"A replica answers wrongly. {failed}")
    strangers = [node for node, result in results.items() if result["version"] != version.number]
    if strangers:
        message = f"Another version than {version.number} answers on {', '.join(strangers)}."
        raise StepFailed("replica.wrong_answer", message)
    # Else an agent that starts anew would warm and check what is live by then.
    actions.orders_withdraw(ctx.claim, version=version)
    agreement = min(result["agreement"] for result in results.values())
    return Done(report={"replicas": results}, detail=f"agreement {agreement:.3f}")
