"""Has each replica answer recorded queries until it is as quick as the live version beside it, within the guard.

No gateway knows of the replicas yet: a version is in no route before it is activated.
"""

from __future__ import annotations

from versions import actions
from workers import comparison, evidence, orders
from workers.context import BuildContext
from workers.outcomes import Done, Outcome, StepFailed, Wait
from workers.overrides import unless_passed

WARM_ROUNDS_MAX = 3


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: replica.warm_failed, replica.lost, replica.order_timeout."""
    version = ctx.version
    # Of this version: a retry makes another one, which has been warmed up in no round yet.
    round_key = f"warm_round_v{version.number}"
    number = ctx.values.get(round_key, 1)
    warmed = orders.carry_out(ctx, version, "WARM", f"v{version.number}-warm-{number}", f"warming up, round {number}")
    if isinstance(warmed, Wait):
        return warmed
    if failed := orders.failures(warmed):
        raise StepFailed("replica.warm_failed", failed)
    compared = comparison.compare(ctx, version, str(number), f"beside the live version, round {number}")
    if isinstance(compared, Wait):
        return compared
    check = comparison.p99_check(ctx.spec, compared, warmed)
    found = f"p99 {check.value:.2f} ms"
    p99_ms = max(result["p99_ms"] for result in warmed.values())
    warm = {"rounds": number, "p99_ms": p99_ms, "limit_ms": check.limit, "replicas": warmed}
    report = {"warm": warm, "compare": compared.to_dict(), **evidence.report(ctx, [check])}
    context = {"comparison": compared.to_dict()}
    held = unless_passed(ctx, evidence.hold([check], report=report, context=context, beside=compared.live))
    if held is None:
        actions.version_measured(ctx.claim, version=version, p99_ms=p99_ms)
        allowed = "" if check.limit is None else f", {check.limit:.2f} ms allowed"
        return Done(report=report, context=context, detail=f"{found}{allowed}")
    if number < WARM_ROUNDS_MAX:
        return Wait(0, detail=f"{found}, above {check.limit:.2f} ms", context={round_key: number + 1})
    return held
