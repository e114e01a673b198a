"""Asking for builds, and what people do with them: cancel, retry, override."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.actions import record
from catalog.models import Service
from common.actor import SYSTEM, Actor
from common.dispatch import after_commit
from common.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, QuotaExceeded, StateConflict
from common.transitions import move
from versions.actions.alarms import MADE_WAY, build_alert, build_alerts_end, made_way_alert
from versions.actions.lines import say
from versions.actions.retirement import build_abandon
from versions.actions.runs import DETAIL_CHARACTERS_MAX, MESSAGE_CHARACTERS_MAX
from versions.groups import MOVE
from versions.models import Build, BuildStep
from versions.selectors import version_of
from versions.states import BUILD, BUILD_UNFINISHED, STATE_TEXTS, STEP, BuildState, LineLevel, StepState

# Builds that wait or run, for each service; what comes on top is refused.
BUILDS_UNFINISHED_MAX = 20
REASON_CHARACTERS_MAX = 500
# The step in which an index is made.
INDEXING = "build_index"
# In the context of a build whose worker delivers the demo's drop.
DEMO = "demo"


@transaction.atomic
def build_request(
    *,
    actor: Actor,
    service: Service,
    drop: str = "",
    force: bool = False,
    demo: bool = False,
    move: Mapping[str, Any] | None = None,
) -> Build:
    """Asks for a build of `drop`, or of the newest complete one; `force` builds what was built before.

    With `demo` its worker delivers `drop` itself, before it looks for it. `move`: the {"service", "build"} of its group
    that it moves with.
    Raises QuotaExceeded when BUILDS_UNFINISHED_MAX builds of the service are unfinished, NotFound for a deleted one.
    """
    service = _with_room_for_a_build(service, made=1)
    build = Build.objects.create(
        service=service,
        number=service.builds_count,
        spec=service.spec,
        spec_generation=service.spec_generation,
        drop_name=drop,
        force=force,
        context={**({DEMO: True} if demo else {}), **({MOVE: dict(move)} if move else {})},
        requested_by=actor.name,
    )
    say(build.pk, f"{actor.name} asks for a build of {f'drop {drop}' if drop else 'the newest complete drop'}.")
    _audit(build, actor, "build.request", after={"drop": drop, "force": force})
    after_commit("build.run", build.pk)
    return build


@transaction.atomic
def build_cancel(*, actor: Actor, build: Build) -> Build:
    """Ends a build: at once when no worker has it, else as soon as its worker looks, which is within seconds.

    Raises FailedPrecondition when its version is or was live (VERSION_IS_LIVE, VERSION_WAS_LIVE), StateConflict when
    the build has ended.
    """
    build = _fresh(build)
    _refuse_when_activated(build)
    before = {"state": build.state}
    message = f"Cancelled by {actor.name}."
    say(build.pk, f"{actor.name} asks to cancel.", level=LineLevel.WARNING)
    Build.objects.filter(pk=build.pk, state__in=BUILD_UNFINISHED).update(cancel_requested_at=Now())
    if not _end_unattended(build, reason="build.cancelled", message=message):
        # Its worker ends it, or whoever claims it next.
        left = Build.objects.filter(pk=build.pk, state=BuildState.RUNNING).update(error_message=message)
        if left != 1:
            raise StateConflict(f"{_state_text(_fresh(build))}; only an unfinished build can be cancelled.")
    # A switch that was under way has held one of the rows just written, so that it is to be seen by now.
    _refuse_when_activated(_fresh(build))
    _audit(build, actor, "build.cancel", before=before)
    return _fresh(build)


@transaction.atomic
def build_make_way(*, build: Build, message: str) -> bool:
    """Ends a build because what serves now would be slowed down by it; False when its index is made by now.

    A worker that has it ends it as soon as it looks. `message` says what happened, and what to do.
    """
    # A write that changes nothing: the step cannot end before this is through.
    Build.objects.filter(pk=build.pk).update(fence=F("fence"))
    if not BuildStep.objects.filter(build=build, name=INDEXING, state=StepState.RUNNING).exists():
        return False
    if not _end_unattended(build, reason=MADE_WAY, message=message):
        asked = Build.objects.filter(pk=build.pk, state=BuildState.RUNNING, cancel_requested_at__isnull=True)
        values = {"error_reason": MADE_WAY, "error_message": message}
        if asked.update(cancel_requested_at=Now(), **values) != 1:
            return False
        say(build.pk, message, step=INDEXING, level=LineLevel.WARNING)
    made_way_alert(build)
    _audit(_fresh(build), SYSTEM, "build.make_way", reason=message)
    return True


@transaction.atomic
def build_retry(*, actor: Actor, build: Build) -> Build:
    """Runs a failed build again; its worker goes on at the first step whose result is not there (any more).

    A retry is never taken for a repetition of another build. Raises StateConflict unless the build has FAILED,
    QuotaExceeded when BUILDS_UNFINISHED_MAX builds of the service are unfinished, NotFound for a deleted service.
    """
    _with_room_for_a_build(build.service, made=0)
    build = _fresh(build)
    before = {"reason": build.error_reason, "message": build.error_message}
    values = {"force": True, "crashes": 0, "cancel_requested_at": None, "ended_at": None, **_NO_ERROR}
    build = _again(build, BuildState.FAILED, "retried", **values)
    for step in build.steps.filter(state=StepState.FAILED):
        move(step, STEP, StepState.PENDING, started_at=None, ended_at=None, progress=None, detail="")
    say(build.pk, f"{actor.name} has it tried again.")
    _audit(build, actor, "build.retry", before=before)
    after_commit("build.run", build.pk)
    return build


@transaction.atomic
def build_override(*, actor: Actor, build: Build, reason: str, expected: tuple[str, str] | None = None) -> Build:
    """Lets a held build pass the guard that stopped it, and that one only where a step may be held for several.

    `expected` is what whoever asks has read: the step and the guard that hold it. Raises StateConflict unless the build
    is HELD, Conflict (BUILD_HELD_OTHERWISE) when something else holds it by now.
    """
    if not reason.strip():
        raise InvalidArgument("Say why the guard may be passed by; the audit trail keeps it.", field="reason")
    reason = reason.strip()[:REASON_CHARACTERS_MAX]
    build = _fresh(build)
    held = build.report.get("held", {})
    if expected not in (None, (held.get("step"), held.get("reason"))):
        message = f"{held.get('reason') or 'Nothing'} holds it by now, not {(expected or ('', ''))[1]}. Look again."
        raise Conflict(message, reason="BUILD_HELD_OTHERWISE")
    passed_now = {**held, "by": actor.name, "why": reason}
    report = {**build.report, "overridden": [*build.report.get("overridden", []), passed_now]}
    step = held.get("step", "")
    passed = {**build.overrides.get(step, {}), held.get("reason", ""): reason}
    build = _resume(build, "overridden", report=report, overrides={**build.overrides, step: passed})
    say(build.pk, f"{actor.name} lets it pass: {reason}", step=step, level=LineLevel.WARNING)
    _audit(build, actor, "build.override", reason=reason, before=held)
    return build


@transaction.atomic
def build_resume(*, build: Build) -> Build:
    """Lets a held build try its step again, because what held it is gone. Raises StateConflict unless it is HELD."""
    build = _fresh(build)
    held = build.report.get("held", {})
    build = _resume(build, "resumed", report=build.report)
    say(build.pk, "What held it is gone: goes on.", step=held.get("step", ""))
    _audit(build, SYSTEM, "build.resume", before=held)
    return build


@transaction.atomic
def build_hold_retell(*, build: Build, message: str) -> None:
    """Says in other words what holds a build: the same thing, for another cause. Said already, nothing changes.

    Raises StateConflict when the build was moved since it was read.
    """
    build = _fresh(build)
    held = build.report.get("held", {})
    if held.get("message") == message:
        return
    unmoved = Build.objects.filter(pk=build.pk, state=BuildState.HELD, fence=build.fence)
    report = {**build.report, "held": {**held, "message": message}}
    if unmoved.update(error_message=message[:MESSAGE_CHARACTERS_MAX], report=report) != 1:
        raise StateConflict(f"{_state_text(_fresh(build))}; what held it is no matter any more.")
    build.steps.filter(state=StepState.HELD).update(detail=message[:DETAIL_CHARACTERS_MAX])
    say(build.pk, f"Held still: {message}", step=held.get("step", ""), level=LineLevel.WARNING)
    evidence = {"step": held.get("step", ""), "checks": held.get("evidence", [])}
    build_alert(build, reason=build.error_reason, message=message, evidence=evidence)


@transaction.atomic
def builds_supersede(builds: Iterable[Build], *, by: int) -> None:
    """Ends builds that are held or wait for their group, because build `by` has a newer drop.

    Audited last: no row is locked after that.
    """
    message = f"Build {by} has a newer drop."
    for build in [each for each in builds if _end_unattended(each, reason="build.superseded", message=message)]:
        _audit(build, SYSTEM, "build.supersede", after={"by": by})


@transaction.atomic
def build_expire(*, build: Build, reason: str, message: str) -> None:
    """Ends a build that nobody is working on and nobody will."""
    if _end_unattended(build, reason=reason, message=message):
        _audit(build, SYSTEM, "build.expire", reason=message)


def _with_room_for_a_build(service: Service, *, made: int) -> Service:
    """Counts `made` new builds; the service's row stays locked, so that builds asked for at once count one another."""
    counted = Service.objects.filter(pk=service.pk, deleted_at__isnull=True)
    if counted.update(builds_count=F("builds_count") + made) != 1:
        raise NotFound("No such service (or it is not yours).", reason="SERVICE_NOT_FOUND")
    service = Service.objects.select_related("tenant").get(pk=service.pk)
    unfinished = Build.objects.of(service.tenant).filter(service=service, state__in=BUILD_UNFINISHED).count()
    if unfinished >= BUILDS_UNFINISHED_MAX:
        message = f"{unfinished} builds of {service.name} are unfinished; at most {BUILDS_UNFINISHED_MAX} may be."
        raise QuotaExceeded(f"{message} Cancel some, or wait.", reason="TOO_MANY_BUILDS")
    return service


_NO_ERROR = {"error_reason": "", "error_owner": "", "error_message": ""}
_ASLEEP = {"state": BuildState.RUNNING, "wake_at__isnull": False}


def _fresh(build: Build) -> Build:
    return Build.objects.select_related("service__tenant").get(pk=build.pk)


def _refuse_when_activated(build: Build) -> None:
    version = version_of(build)
    if version is None or version.activated_at is None:
        return
    made = f"{_state_text(build)} and its version {version.number}"
    live = version.service.live_version
    if live == version.number:
        raise FailedPrecondition(f"{made} is live. Roll back instead.", reason="VERSION_IS_LIVE")
    message = f"{made} was live; version {live} is live now. There is nothing to cancel."
    raise FailedPrecondition(message, reason="VERSION_WAS_LIVE")


def _end_unattended(build: Build, *, reason: str, message: str) -> bool:
    """Moves a build that no worker holds to CANCELLED; False when one holds it or it has ended."""
    values = {"error_reason": reason, "error_owner": "user", "error_message": message, "ended_at": Now()}
    unattended = ({"state": BuildState.PENDING}, {"state": BuildState.HELD}, _ASLEEP)
    for where in unattended:
        try:
            # The fence rises, so that a worker that is about to claim it comes too late.
            move(build, BUILD, BuildState.CANCELLED, where=where, fence=F("fence") + 1, wake_at=None, **values)
        except StateConflict:
            continue
        for step in build.steps.filter(state__in=[StepState.RUNNING, StepState.HELD]):
            move(step, STEP, StepState.CANCELLED, ended_at=Now())
        say(build.pk, f"Ends here ({reason}): {message}")
        build_abandon(build)
        build_alerts_end(build)
        return True
    return False


def _again(build: Build, state: BuildState, done: str, **values: Any) -> Build:
    """Moves a build that is in `state` back to PENDING. Raises StateConflict that says what it is and was to be.

    Its place in the line for room is gone: those that were admitted meanwhile have not seen it.
    """
    context = {name: value for name, value in build.context.items() if name != "admission"}
    try:
        build = move(build, BUILD, BuildState.PENDING, where={"state": state}, context=context, **values)
    except StateConflict as error:
        message = f"{_state_text(_fresh(build))}; only a {state.lower()} build can be {done}."
        raise StateConflict(message) from error
    build_alerts_end(build)
    return build


def _state_text(build: Build) -> str:
    return f"Build {build.number} {STATE_TEXTS[BuildState(build.state)]}"


def _resume(build: Build, done: str, *, report: dict[str, Any], **values: Any) -> Build:
    values["report"] = {name: part for name, part in report.items() if name != "held"}
    build = _again(build, BuildState.HELD, done, **_NO_ERROR, **values)
    for step in BuildStep.objects.filter(build=build, state=StepState.HELD):
        move(step, STEP, StepState.PENDING, ended_at=None, detail="")
    after_commit("build.run", build.pk)
    return build


def _audit(
    build: Build, actor: Actor, verb: str, *, reason: str = "", before: object = None, after: object = None
) -> None:
    record(
        actor=actor,
        verb=verb,
        tenant=build.service.tenant.name,
        service=build.service.name,
        target=f"build {build.number}",
        reason=reason,
        before=before,
        after=after,
    )
