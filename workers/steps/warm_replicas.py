"""Has each replica answer recorded queries until it is as quick as the live version, within the guard."""

from __future__ import annotations

from versions import actions
from versions.selectors import live_version
from workers import guards, orders
from workers.context import BuildContext
from workers.outcomes import Done, Evidence, Hold, Outcome, StepFailed, Wait

WARM_ROUNDS_MAX = 3
WAIT_SECONDS = 1.0


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: replica.warm_failed, replica.lost, replica.order_timeout."""
    version = ctx.version
    # Of this version: a retry makes another one, which has been warmed up in no round yet.
    round_key = f"warm_round_v{version.number}"
    number = ctx.values.get(round_key, 1)
    results = orders.carry_out(ctx, version, "WARM", f"v{version.number}-warm-{number}")
    if results is None:
        return Wait(WAIT_SECONDS, detail=f"warming up, round {number}")
    if failed := orders.failures(results):
        raise StepFailed("replica.warm_failed", failed)
    p99_ms = max(result["p99_ms"] for result in results.values())
    limit_ms = _limit_ms(ctx)
    report = {"warm": {"rounds": number, "p99_ms": p99_ms, "limit_ms": limit_ms, "replicas": results}}
    if limit_ms is None or p99_ms <= limit_ms or ctx.overridden:
        actions.version_measured(ctx.claim, version=version, p99_ms=p99_ms)
        return Done(report=report, detail=f"p99 {p99_ms:.2f} ms")
    if number < WARM_ROUNDS_MAX:
        return Wait(0, detail=f"p99 is {p99_ms:.2f} ms, above {limit_ms:.2f} ms", context={round_key: number + 1})
    message = (
        f"The p99 is {p99_ms:.2f} ms after {number} rounds; beside the live version at most {limit_ms:.2f} ms may be "
        "(guards.max_p99_ratio)."
    )
    evidence = Evidence("max_p99_ratio", p99_ms, limit_ms, "p99 in ms")
    return Hold("guard.max_p99_ratio", message, (evidence,), report=report)


def _limit_ms(ctx: BuildContext) -> float | None:
    """A first version has nothing to be compared with."""
    live = live_version(ctx.service)
    return guards.p99_limit_ms(ctx.spec["guards"], live_p99_ms=live.p99_ms if live else None)
