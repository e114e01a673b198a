"""Asks each replica what the index was asked when it was built, and judges its answers beside the live version's.

A replica that answers wrongly fails the build; evidence beyond a guard holds it.
"""

from __future__ import annotations

from versions import actions
from versions.models import Version
from workers import comparison, evidence, orders
from workers.context import BuildContext
from workers.evidence import Check, at_least
from workers.outcomes import Done, Outcome, StepFailed, Wait
from workers.overrides import unless_passed


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: replica.wrong_answer, replica.lost, replica.order_timeout."""
    version = ctx.version
    results = orders.carry_out(ctx, version, "CHECK", f"v{version.number}-check", "checking")
    if isinstance(results, Wait):
        return results
    _refuse_wrong(version, results)
    compared = comparison.known(ctx.values) or comparison.compare(ctx, version, "check", "beside the live version")
    if isinstance(compared, Wait):
        return compared
    # Else an agent that starts anew would warm and check what is live by then.
    actions.orders_withdraw(ctx.claim, version=version)
    likeness = comparison.likeness_checks(ctx.spec, compared, version)
    checks = [*_answers(ctx, version, results), *likeness]
    report = {"replicas": results, **evidence.report(ctx, checks)}
    held = unless_passed(ctx, evidence.hold(checks, report=report, beside=compared.live))
    agreement = min(result["agreement"] for result in results.values())
    return held or Done(report=report, detail=f"agreement {agreement:.3f}")


def _refuse_wrong(version: Version, results: orders.Results) -> None:
    if failed := orders.failures(results):
        raise StepFailed("replica.wrong_answer", f"A replica answers wrongly. {failed}")
    strangers = [node for node, result in results.items() if result["version"] != version.number]
    if strangers:
        message = f"Another version than {version.number} answers on {', '.join(strangers)}."
        raise StepFailed("replica.wrong_answer", message)
    short = {node: result["items"] for node, result in results.items() if result["items"] != version.searchable_items}
    if short:
        counts = ", ".join(f"{items:,} on {node}" for node, items in short.items())
        message = f"Version {version.number} has {version.searchable_items:,} items; there are {counts}."
        raise StepFailed("replica.wrong_answer", message)


def _answers(ctx: BuildContext, version: Version, results: orders.Results) -> list[Check]:
    """What each replica proved, told of the one that proved least."""
    nodes = ", ".join(results)
    agreement, agreement_min = min((result["agreement"], result["agreement_min"]) for result in results.values())
    shares = [result["rows_found"] / result["rows_sampled"] for result in results.values() if result["rows_sampled"]]
    items = Check(
        "replica_items", "items on each replica", version.searchable_items, "exactly", version.searchable_items
    )
    checks = [
        items,
        at_least("known_answers", "known answers", agreement, agreement_min, "Of known neighbours, {} were found"),
        at_least(
            "min_recall",
            "sampled rows found on each replica",
            min(shares, default=1.0),
            ctx.spec["guards"]["min_recall"],
            "Of sampled rows, {} find themselves on a replica",
        ),
    ]
    return [evidence.noted(check, nodes) for check in checks]
