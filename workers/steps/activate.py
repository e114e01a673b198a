"""Makes the version live by one compare-and-set, and waits for the gateways to say that they serve it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import redis

from catalog.models import Service
from common.actor import Actor
from common.errors import Conflict, FailedPrecondition
from common.texts import sentence
from documents.store import Stamp
from versions import actions, routes
from versions.checked import APPROVAL_REQUIRED, HELD_BY_SERVICE
from versions.groups import GATE, GROUP_INCOMPLETE, Others, others_of, whereabouts
from versions.models import Activation, Build, Version
from versions.outlook import bad_twin
from versions.selectors import activations_of, live_version, platform_epoch
from versions.states import STATE_TEXTS, BuildState
from workers import beside, comparison, evidence, guards, patience
from workers.context import POLL_SECONDS, BuildContext
from workers.outcomes import Done, Hold, Outcome, StepFailed, Wait
from workers.overrides import is_passed
from workers.steps.check_counts import check, count_facts
from workers.steps.check_items import check_again

ACKNOWLEDGE_SECONDS_MAX = 2.0
WAIT_SECONDS = 1.0
GROUP_WAIT_SECONDS = 3.0
ON_APPROVAL = "on_approval"
# How long the only replica may take to come back.
SERVABLE_SECONDS_MAX = 120
# What the step waits for, besides orders.
SERVABLE = "servable"


@dataclass(frozen=True)
class Judged:
    """Whether something stops the switch, and what was found, for people (`report`) and for the next look."""

    stop: Hold | Wait | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)

    def and_then(self, found: Judged) -> Judged:
        """Both together; a stop tells, and keeps, all that was found before it."""
        report, context = {**self.report, **found.report}, {**self.context, **found.context}
        stop = found.stop
        if isinstance(stop, Hold):
            stop = replace(stop, report={**report, **stop.report}, context={**context, **stop.context})
        elif stop is not None:
            stop = replace(stop, context={**context, **stop.context})
        return Judged(stop, report, context)


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed (activate.refused) when the version still cannot serve after SERVABLE_SECONDS_MAX.

    And CancelAsked, which the switch itself notices.
    """
    version, service = ctx.version, ctx.service
    judged = Judged()
    # Was it live once, then this step is through; if somebody rolled back since, it is not for a build to undo that.
    if version.activated_at is None:
        judged = _judge(ctx, version, service)
        if judged.stop is not None:
            return _marked(judged.stop)
        try:
            _activate(ctx, version, service)
        except (actions.CancelAsked, actions.FenceLost):
            raise
        except (Conflict, FailedPrecondition) as error:
            # Live moved, the service was put on hold, or the only replica respawns: look at everything again.
            return _again(ctx, error, judged)
    activation = activations_of(service).filter(to_version=version.number).first()
    report = {**judged.report, "activation": {**_acknowledged(ctx, activation), **_built_beside(ctx, version)}}
    return Done(report=report, context=judged.context, detail=f"version {version.number} is live")


def _judge(ctx: BuildContext, version: Version, service: Service) -> Judged:
    """The first reason to stop that no operator has let pass: who overrode one has not seen the others.

    With what was found on the way, which is the evidence of what goes live, or of why it does not.
    """
    reasons: tuple[Callable[[], Judged], ...] = (
        lambda: Judged(_by_service(service)),
        lambda: Judged(_by_bad_drop(ctx)),
        lambda: Judged(_by_newer(version, service)),
        lambda: _by_guards(ctx, service),
        lambda: _by_items(ctx, version),
        lambda: _by_gate(ctx, version, service),
        lambda: Judged(_by_approval(version, service)),
        # Last, so that whoever waits for the others is ready to switch.
        lambda: Judged(_by_stopped(ctx)),
        lambda: Judged(_by_awaited(ctx)),
    )
    so_far = Judged()
    for reason in reasons:
        so_far = so_far.and_then(reason())
        if _is_overridden(ctx, so_far.stop):
            so_far = replace(so_far, stop=None)
        if so_far.stop is not None:
            break
    return so_far


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


def _by_guards(ctx: BuildContext, service: Service) -> Judged:
    """Again, when they compared with a version that is not live any more."""
    known = ctx.values["counts"]
    if known["live_generation"] == service.live_generation:
        return Judged()
    facts = count_facts(ctx, known["items"])
    return Judged(check(ctx, facts, promised=False), report={"counts": facts})


def _by_items(ctx: BuildContext, version: Version) -> Judged:
    """The same for ids and vectors; by a mark of their own, because an overridden count has renewed that of counts.

    What was compared is kept while the step waits, so that it is not compared again each second.
    """
    before, live = ctx.values.get("items"), live_version(ctx.service)
    if live is None:
        return Judged()
    if before and before["live_version"] == live.number:
        return Judged(report={"items": before})
    found, held = check_again(ctx, version, live)
    return Judged(held, report={"items": found}, context={"items": found})


def _by_gate(ctx: BuildContext, version: Version, service: Service) -> Judged:
    """The same for the evidence: beside another live version it is another.

    Where no node holds both, the p99 is judged by what each took when it was warmed up, as it was before.
    """
    before = comparison.known(ctx.values)
    if before is None or before.live_generation == service.live_generation:
        return Judged()
    detail = f"beside version {service.live_version}, which went live meanwhile"
    compared = comparison.compare(ctx, version, f"g{service.live_generation}", detail)
    if isinstance(compared, Wait):
        return Judged(compared)
    actions.orders_withdraw(ctx.claim, version=version)
    warmed = ctx.build.report["warm"]["replicas"]
    checks = [
        comparison.p99_check(ctx.spec, compared, warmed),
        *comparison.likeness_checks(ctx.spec, compared, version),
    ]
    report = {"compare": compared.to_dict(), **evidence.report(ctx, checks)}
    return Judged(evidence.hold(checks, report=report, beside=compared.live), report=report)


def _by_approval(version: Version, service: Service) -> Hold | None:
    """The policy as it is now, not as it was when the build was asked for."""
    if service.spec["versions"]["activate"] != ON_APPROVAL:
        return None
    message = f"Version {version.number} is checked and waits for a person to activate it (versions.activate)."
    return Hold(APPROVAL_REQUIRED, message, beside=guards.version_text(version.number))


def _by_stopped(ctx: BuildContext) -> Hold | None:
    """Others of its group that have stopped on their way: this one would leave them behind."""
    return left_behind(others_of(ctx.build))


def left_behind(others: Others) -> Hold | None:
    """Holds for those of a group that have stopped, by what stops each of them now."""
    if not others.stopped:
        return None
    told = " ".join(_stopped_text(build) for build in others.stopped)
    message = (
        f"It moves together with {others.without}, which cannot: {told} Once that is mended this build goes on by "
        f"itself; an override switches without {others.without}."
    )
    return Hold(GROUP_INCOMPLETE, message, beside=f"without {others.without}")


def _stopped_text(build: Build) -> str:
    what = f"build {build.number} of {build.service.name} {STATE_TEXTS[BuildState(build.state)]}"
    return f"{what} ({build.error_reason})."


def _by_awaited(ctx: BuildContext) -> Wait | None:
    """Others of its group that are still on their way. Says to them that this one is where they have to come."""
    awaited = others_of(ctx.build).awaited
    if not awaited:
        return None
    detail = f"Waits for its group: {', '.join(map(whereabouts, awaited))}."
    return Wait(GROUP_WAIT_SECONDS, detail, context={GATE: ctx.started_at.isoformat()}, parked=True)


def _marked(stop: Hold | Wait) -> Hold | Wait:
    """Whoever stops for anything but its group does not stand before the switch any more."""
    return replace(stop, context={GATE: "", **stop.context}) if isinstance(stop, Wait) else stop


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


def _built_beside(ctx: BuildContext, version: Version) -> dict[str, Any]:
    """Whose index is being made where callers are served now: it takes the CPU of their searches, and is told."""
    told = beside.at_switch(version)
    for said in beside.switch_sentences(told):
        ctx.say(said)
    return told


def _again(ctx: BuildContext, error: Conflict | FailedPrecondition, judged: Judged) -> Wait:
    """Counts since the first refusal, and not what the step has waited for before: a comparison takes minutes."""
    if patience.waited_seconds(ctx, SERVABLE) > SERVABLE_SECONDS_MAX:
        raise StepFailed("activate.refused", error.message) from error
    context = {**judged.context, **patience.waits(ctx, SERVABLE)}
    return Wait(WAIT_SECONDS, detail=error.message, context=context)


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
