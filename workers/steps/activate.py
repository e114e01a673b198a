"""Makes the version live by one compare-and-set, and waits for the gateways to say that they serve it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from catalog.models import Service
from common.actor import Actor
from common.errors import Conflict, FailedPrecondition
from common.texts import sentence
from documents.store import Stamp
from versions import actions, routes
from versions.checked import APPROVAL_REQUIRED, HELD_BY_SERVICE
from versions.models import Activation, Version
from versions.outlook import bad_twin
from versions.selectors import activations_of, platform_epoch
from workers import comparison, evidence, guards, patience
from workers.context import POLL_SECONDS, BuildContext
from workers.outcomes import Done, Hold, Outcome, StepFailed, Wait
from workers.overrides import is_passed
from workers.steps.check_counts import check, count_facts
from workers.steps.check_items import check_again

ACKNOWLEDGE_SECONDS_MAX = 2.0
WAIT_SECONDS = 1.0
ON_APPROVAL = "on_approval"
# How long the only replica may take to come back.
SERVABLE_SECONDS_MAX = 120
# What the step waits for.
SERVABLE, COMPARISON = "servable", "comparison"


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed (activate.refused) when the version still cannot serve after SERVABLE_SECONDS_MAX.

    And CancelAsked, which the switch itself notices.
    """
    version, service = ctx.version, ctx.service
    # Was it live once, then this step is through; if somebody rolled back since, it is not for a build to undo that.
    if version.activated_at is None:
        held = _held(ctx, version, service)
        if held is not None:
            return held
        try:
            _activate(ctx, version, service)
        except (actions.CancelAsked, actions.FenceLost):
            raise
        except (Conflict, FailedPrecondition) as error:
            # Live moved, the service was put on hold, or the only replica respawns: look at everything again.
            return _again(ctx, error)
    activation = activations_of(service).filter(to_version=version.number).first()
    return Done(report={"activation": _acknowledged(ctx, activation)}, detail=f"version {version.number} is live")


def _held(ctx: BuildContext, version: Version, service: Service) -> Hold | Wait | None:
    """The first reason to hold that no operator has let pass: who overrode one has not seen the others."""
    reasons: tuple[Callable[[], Hold | Wait | None], ...] = (
        lambda: _by_service(service),
        lambda: _by_bad_drop(ctx),
        lambda: _by_newer(version, service),
        lambda: _by_guards(ctx, service),
        lambda: _by_items(ctx, version, service),
        lambda: _by_gate(ctx, version, service),
        lambda: _by_approval(version, service),
    )
    found = (reason() for reason in reasons)
    return next((one for one in found if one is not None and not _is_overridden(ctx, one)), None)


def _is_overridden(ctx: BuildContext, found: Hold | Wait | None) -> bool:
    return isinstance(found, Hold) and is_passed(ctx, found)


def _by_service(service: Service) -> Hold | None:
    if service.held_at is None:
        return None
    message = f"The service is on hold: {sentence(service.held_reason)} Release it, or override."
    # Whoever lets this hold pass knows nothing of the next one.
    return Hold(HELD_BY_SERVICE, message, beside=f"{service.held_at.isoformat()} {service.held_reason}")


def _by_bad_drop(ctx: BuildContext) -> Hold | None:
    """A retry, a build by force and the next drop that is the same one must not bring back what somebody left."""
    bad = bad_twin(ctx.build)
    if bad is None:
        return None
    message = (
        f"This very drop, read and indexed in the same way, made version {bad.number}, which was rolled back: "
        f"{sentence(bad.bad_reason)} Deliver a corrected drop, or override."
    )
    return Hold("activate.bad_drop", message, beside=guards.version_text(bad.number))


def _by_newer(version: Version, service: Service) -> Hold | None:
    live = service.live_version
    if live is None or live < version.number:
        return None
    message = f"Version {live}, which is newer, went live meanwhile. Override to go back to version {version.number}."
    return Hold("activate.newer_is_live", message, beside=guards.version_text(live))


def _by_guards(ctx: BuildContext, service: Service) -> Hold | None:
    """Again, when they compared with a version that is not live any more."""
    known = ctx.values["counts"]
    if known["live_generation"] == service.live_generation:
        return None
    return check(ctx, count_facts(ctx, known["items"]))


def _by_items(ctx: BuildContext, version: Version, service: Service) -> Hold | None:
    """The same for ids and vectors; by a mark of their own, because an overridden count has renewed that of counts."""
    before = ctx.values.get("items")
    compared_with = before["live_version"] if before else None
    return None if compared_with == service.live_version else check_again(ctx, version)


def _by_gate(ctx: BuildContext, version: Version, service: Service) -> Hold | Wait | None:
    """The same for the evidence: beside another live version it is another."""
    before = comparison.known(ctx.values)
    if before is None or before.live_generation == service.live_generation:
        return None
    name = f"g{service.live_generation}"
    compared = comparison.compare(ctx, version, name)
    if compared is None:
        return _wait(ctx, COMPARISON, f"beside version {service.live_version}, which went live meanwhile")
    actions.orders_withdraw(ctx.claim, version=version)
    checks = comparison.likeness_checks(ctx.spec, compared, version)
    if compared.good:
        checks.insert(0, comparison.p99_check(ctx.spec, compared, compared.good))
    report = {"compare": compared.to_dict(), **evidence.report(ctx, checks)}
    return evidence.hold(checks, report=report, beside=compared.live)


def _by_approval(version: Version, service: Service) -> Hold | None:
    """The policy as it is now, not as it was when the build was asked for."""
    if service.spec["versions"]["activate"] != ON_APPROVAL:
        return None
    message = f"Version {version.number} is checked and waits for a person to activate it (versions.activate)."
    return Hold(APPROVAL_REQUIRED, message, beside=guards.version_text(version.number))


def _activate(ctx: BuildContext, version: Version, service: Service) -> None:
    actions.version_activate(
        actor=Actor(kind="system", name=f"build {ctx.build.number}"),
        service=service,
        number=version.number,
        reason=" ".join(ctx.overrides.values()),
        expected_live_generation=service.live_generation,
        claim=ctx.claim,
        overridden=_is_overridden(ctx, _by_service(service)),
    )


def _again(ctx: BuildContext, error: Conflict | FailedPrecondition) -> Wait:
    """Counts since the first refusal, and not what the step has waited for before: a comparison takes minutes."""
    if patience.waited_seconds(ctx, SERVABLE) > SERVABLE_SECONDS_MAX:
        raise StepFailed("activate.refused", error.message) from error
    return _wait(ctx, SERVABLE, error.message)


def _wait(ctx: BuildContext, what: str, detail: str) -> Wait:
    """Keeps what was compared, so that it is not compared again each second."""
    compared = {"items": ctx.values["items"]} if "items" in ctx.values else {}
    return Wait(WAIT_SECONDS, detail=detail, context={**compared, **patience.waits(ctx, what)})


def _acknowledged(ctx: BuildContext, activation: Activation | None) -> dict[str, Any]:
    """Waits a moment for the gateways; who lags behind is named and does not stop the build."""
    if activation is None:
        return {}
    stamp = Stamp(platform_epoch(), activation.route_generation)
    until = time.monotonic() + ACKNOWLEDGE_SECONDS_MAX
    while True:
        ctx.lease.check()
        try:
            laggards = routes.acknowledged(ctx.service, stamp)[1]
        except redis.RedisError as error:
            return {"live_generation": activation.live_generation, "laggards": [f"unknown: {error}"]}
        late = time.monotonic() > until
        if late or not laggards:
            actions.activation_settle(activation=activation, laggards=laggards, late=late)
            return {"live_generation": activation.live_generation, "laggards": laggards}
        time.sleep(POLL_SECONDS)
