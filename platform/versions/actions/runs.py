"""What a worker writes while it runs a build: its steps, its waits, its end. Every write names the fence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from audit.actions import record
from common.actor import SYSTEM
from common.transitions import move
from versions.actions.alarms import build_alert, build_alerts_end, build_alerts_end_until
from versions.actions.claims import Claim, fenced, fenced_build, fenced_unless_cancelled
from versions.actions.lines import say, say_waiting
from versions.actions.retirement import build_abandon
from versions.models import Build, BuildStep
from versions.states import BUILD, STEP, BuildState, LineLevel, StepState

DETAIL_CHARACTERS_MAX = 500
MESSAGE_CHARACTERS_MAX = 4_000


@transaction.atomic
def steps_prepare(claim: Claim, names: Sequence[str]) -> None:
    """Makes a row for each step that has none, in the order of `names`."""
    fenced(claim)
    positions = dict(BuildStep.objects.filter(build_id=claim.build_id).values_list("name", "position"))
    for position, name in enumerate(names):
        if name not in positions:
            BuildStep.objects.create(build_id=claim.build_id, name=name, position=position)
        elif positions[name] != position:
            BuildStep.objects.filter(build_id=claim.build_id, name=name).update(position=position)


@transaction.atomic
def steps_redo(claim: Claim, names: Sequence[str]) -> None:
    """Takes back steps that were done: what they left behind is not there any more."""
    fenced(claim)
    for step in BuildStep.objects.filter(build_id=claim.build_id, name__in=names, state=StepState.DONE):
        move(step, STEP, StepState.PENDING, started_at=None, ended_at=None, progress=None, detail="")
    if names:
        say(claim.build_id, f"What {names[0]} had made is not there any more: goes on from there.")


@transaction.atomic
def step_start(claim: Claim, name: str) -> BuildStep:
    """A step that goes on after a wait keeps the time of its first start."""
    fenced(claim)
    step = _step(claim, name)
    if step.state == StepState.RUNNING:
        return step
    fresh: dict[str, Any] = {"progress": None, "rate": None, "eta_seconds": None, "detail": "", "ended_at": None}
    say(claim.build_id, "Begins.", step=name)
    return move(step, STEP, StepState.RUNNING, started_at=Now(), **fresh)


@transaction.atomic
def step_progress(
    claim: Claim,
    name: str,
    *,
    progress: float | None = None,
    rate: float | None = None,
    eta_seconds: float | None = None,
    detail: str = "",
) -> None:
    """`progress` 0 to 1, `rate` in rows a second; None where the step cannot tell."""
    fenced(claim)
    BuildStep.objects.filter(build_id=claim.build_id, name=name, state=StepState.RUNNING).update(
        progress=progress, rate=rate, eta_seconds=eta_seconds, detail=detail[:DETAIL_CHARACTERS_MAX]
    )


@transaction.atomic
def build_say(claim: Claim, step: str, text: str) -> None:
    """A line of the build's log from within a step that runs. Raises FenceLost."""
    fenced(claim)
    say(claim.build_id, text, step=step)


@transaction.atomic
def step_done(
    claim: Claim, name: str, *, report: Mapping[str, Any], context: Mapping[str, Any], detail: str = ""
) -> None:
    """Ends a step; `report` is merged into the build's report, `context` into what later steps read.

    Workers that died count for one step: a build that gets on is not what kills them.
    """
    _merge(fenced_build(claim), report, context)
    fenced(claim, crashes=0)
    step = _step(claim, name)
    kept = detail[:DETAIL_CHARACTERS_MAX] or step.detail
    say(claim.build_id, f"Done: {detail}" if detail else "Done.", step=name)
    move(step, STEP, StepState.DONE, ended_at=Now(), progress=1.0, eta_seconds=None, detail=kept)


@transaction.atomic
def build_wait(
    claim: Claim, name: str, *, seconds: float, detail: str, context: Mapping[str, Any], parked: bool = False
) -> None:
    """Frees the worker; the sweeper rings again when the wake-up is due. Raises CancelAsked.

    `parked`: until then it is none of the builds that its tenant may run at once.
    """
    # Who is asked to cancel a build that a worker has leaves that to the worker, which may not have looked yet.
    fenced_unless_cancelled(claim)
    _merge(fenced_build(claim), {}, context)
    step_progress(claim, name, detail=detail)
    say_waiting(claim.build_id, detail, step=name)
    fenced(claim, wake_at=Now() + timedelta(seconds=seconds), lease_until=None, lease_owner="", parked=parked)


@transaction.atomic
def build_hold(
    claim: Claim,
    name: str,
    *,
    reason: str,
    message: str,
    evidence: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
    context: Mapping[str, Any],
    told: Sequence[str] = (),
) -> None:
    """Stops before a guard that is not met. `evidence` holds {name, value, limit} for each. Raises CancelAsked.

    `told` is what an override lets pass, in words that mean the same only while all that counts is the same.
    """
    fenced_unless_cancelled(claim)
    build = fenced_build(claim)
    held = {"step": name, "reason": reason, "message": message, "evidence": [dict(each) for each in evidence]}
    held["told"] = list(told)
    _merge(build, {**report, "held": held}, context)
    move(_step(claim, name), STEP, StepState.HELD, ended_at=Now(), detail=message[:DETAIL_CHARACTERS_MAX])
    say(build.pk, f"Held ({reason}): {message}", step=name, level=LineLevel.WARNING)
    _end(claim, build, BuildState.HELD, reason=reason, owner="user", message=message, ended_at=None)
    build_alert(build, reason=reason, message=message, evidence={"step": name, "checks": held["evidence"]})
    service = build.service
    record(
        actor=SYSTEM,
        verb="build.hold",
        tenant=service.tenant.name,
        service=service.name,
        target=f"build {build.number}",
        reason=message,
        after=held,
    )


@transaction.atomic
def build_fail(claim: Claim, *, reason: str, owner: str, message: str) -> None:
    """Ends the build; what it has made leaves the nodes, and nothing that is live changes."""
    build = fenced_build(claim)
    say(build.pk, f"Failed ({reason}): {message}", step=_running_step(build), level=LineLevel.ERROR)
    _end_step(build, StepState.FAILED, message)
    _end(claim, build, BuildState.FAILED, reason=reason, owner=owner, message=message)
    build_abandon(build)
    build_alert(build, reason=reason, message=message, evidence={"owner": owner})


@transaction.atomic
def build_stop(claim: Claim, *, reason: str, message: str) -> None:
    """Ends the build as CANCELLED: on request, or because it is not needed."""
    build = fenced_build(claim)
    say(build.pk, f"Ends here ({reason}): {message}", step=_running_step(build))
    _end_step(build, StepState.CANCELLED, message)
    _end(claim, build, BuildState.CANCELLED, reason=reason, owner="user", message=message)
    build_abandon(build)
    build_alerts_end(build)


@transaction.atomic
def build_succeed(claim: Claim) -> None:
    build = fenced_build(claim)
    say(build.pk, f"Succeeded: version {build.version_number}.")
    _end(claim, build, BuildState.SUCCEEDED, reason="", owner="", message="")
    build_alerts_end_until(build)


def _step(claim: Claim, name: str) -> BuildStep:
    return BuildStep.objects.get(build_id=claim.build_id, name=name)


def _running_step(build: Build) -> str:
    """The step that the build is in; empty between two of them."""
    names = BuildStep.objects.filter(build=build, state=StepState.RUNNING).values_list("name", flat=True)
    return names.first() or ""


def _merge(build: Build, report: Mapping[str, Any], context: Mapping[str, Any]) -> None:
    """Adds to the JSON columns; the fence has locked the row."""
    if not report and not context:
        return
    merged = {"report": {**build.report, **report}, "context": {**build.context, **context}}
    Build.objects.filter(pk=build.pk).update(**merged)


def _end_step(build: Build, state: StepState, message: str) -> None:
    """Ends the step that the build is in, if it is in one."""
    for step in BuildStep.objects.filter(build=build, state=StepState.RUNNING):
        move(step, STEP, state, ended_at=Now(), detail=message[:DETAIL_CHARACTERS_MAX])


def _end(claim: Claim, build: Build, state: BuildState, *, reason: str, owner: str, message: str, **more: Any) -> None:
    values: dict[str, Any] = {
        "lease_until": None,
        "lease_owner": "",
        "wake_at": None,
        "ended_at": Now(),
        "error_reason": reason,
        "error_owner": owner,
        "error_message": message[:MESSAGE_CHARACTERS_MAX],
    }
    move(build, BUILD, state, where={"fence": claim.fence, "state": BuildState.RUNNING}, **{**values, **more})
