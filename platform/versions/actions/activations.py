"""The switch of a service's live pointer, forwards, back and to nothing: one compare-and-set, then the route."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

import redis
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.actions import record
from catalog.models import Service
from common.actor import Actor
from common.errors import Conflict, FailedPrecondition, StateConflict
from common.texts import sentence
from common.transitions import move
from documents.store import Stamp
from failpoints import failpoint
from versions import routes
from versions.actions.alarms import activation_alert, activation_alert_end, alerts_follow_live
from versions.actions.builds import build_resume
from versions.actions.claims import Claim, fenced_unless_cancelled
from versions.actions.refusals import refuse_unchecked, refuse_worse, servable
from versions.actions.replicas import replicas_let_in
from versions.actions.standby import reload_end, reload_request, reload_told
from versions.checked import HELD_BEFORE_SWITCH
from versions.models import Activation, Build, Reload, Version
from versions.selectors import (
    activations_of,
    live_version,
    needing_a_load,
    open_reload,
    platform_epoch,
    rollback_target,
    version_get,
)
from versions.states import ACTIVATION, ActivationState, BuildState, VersionState

log = logging.getLogger(__name__)

REASON_CHARACTERS_MAX = 500
# Gateways take a new route within milliseconds; whoever needs longer is named, and the sweeper waits on.
ACKNOWLEDGE_SECONDS_MAX = 0.5
POLL_SECONDS = 0.02


def version_activate(
    *,
    actor: Actor,
    service: Service,
    number: int,
    reason: str = "",
    expected_live_generation: int | None = None,
    anyway: bool = False,
    claim: Claim | None = None,
    overridden: bool = False,
) -> Activation:
    """Makes version `number` live. When it is live already nothing changes (`changed` is False on the answer).

    One that is not loaded (standby: cold; it waited for approval for long; its nodes are lost) is loaded and checked
    first; `loading` on the answer says so. Not for a build, which has it loaded itself.

    `claim` says that its build asks, not a person; that is refused while the service is on hold, unless that very hold,
    as it is in `service`, was `overridden`, and when the build is another worker's by now (FenceLost) or shall be
    cancelled (CancelAsked). Raises FailedPrecondition when the version cannot serve, or (VERSION_NOT_CHECKED) when a
    person asks before its build has checked it, or (VERSION_NOT_WELL) when callers would hear worse from it than from
    what is live, unless they want it `anyway`; Conflict (LIVE_MOVED) when the live pointer was moved since
    `expected_live_generation` (or since this call began), or a hold of the service began or ended at this moment.
    """
    passed_hold = _hold_of(service) if overridden else {}
    service = _fresh(service)
    if service.live_version == number:
        return _unchanged(service)
    if claim is not None and service.held_at is not None and _hold_of(service) != passed_hold:
        raise FailedPrecondition(f"The service is on hold: {sentence(service.held_reason)}", reason="SERVICE_HELD")
    version = version_get(service, number)
    passed_over = ""
    expected = service.live_generation if expected_live_generation is None else expected_live_generation
    if claim is None and version.state == VersionState.READY:
        refuse_unchecked(version)
        if needing_a_load([version]):
            if expected != service.live_generation:
                raise _live_moved(service)
            return _load_first(actor, "activate", service, version, reason)
        passed_over = refuse_worse(target=version, live=live_version(service), anyway=anyway)
    version = servable(version)
    unchanged = _hold_of(service) if claim is not None else {}
    where = {"live_generation": expected, **unchanged}
    activation = _switch(actor, "activate", service, version, reason, where, claim=claim, passed_over=passed_over)
    if claim is None:
        _resume_waiting_build(version)
    return activation


def version_rollback(
    *,
    actor: Actor,
    service: Service,
    from_version: int | None = None,
    expected_target: int | None = None,
    reason: str = "",
    anyway: bool = False,
) -> Activation:
    """Goes back to the newest version older than live that was live once and is not marked bad.

    One that is not loaded (standby: cold, or its nodes are lost) is loaded first; `loading` on the answer says so, and
    what is live stays until then. Marks the version it leaves as bad and puts the service on hold, so that no build
    activates anything until it is released. When `from_version` is given and not live, nothing changes: the answer is
    the newest activation with `changed` False, so that a double click does no harm. Raises FailedPrecondition when
    there is nothing to go back to, or (VERSION_NOT_WELL) when callers would hear worse there than now, unless they want
    it `anyway`; Conflict (ROLLBACK_TARGET_MOVED) when it would be another one than `expected_target`, which whoever
    asks was told of.
    """
    service = _fresh(service)
    if from_version is not None and service.live_version != from_version:
        return _unchanged(service)
    left, target = live_version(service), rollback_target(service)
    if left is None:
        raise FailedPrecondition("Nothing is live yet, so there is nothing to roll back.", reason="NO_LIVE_VERSION")
    if target is None:
        message = (
            f"No version older than {left.number} was live and is good. Activate one by number, or build an older drop."
        )
        raise FailedPrecondition(message, reason="NOTHING_TO_ROLL_BACK")
    if expected_target not in (None, target.number):
        message = f"It would go back to version {target.number} by now, not to {expected_target}. Look again."
        raise Conflict(message, reason="ROLLBACK_TARGET_MOVED")
    if needing_a_load([target]):
        return _load_first(actor, "rollback", service, target, reason, left=left)
    passed_over = refuse_worse(target=target, live=left, anyway=anyway)
    where = {"live_generation": service.live_generation}
    try:
        return _switch(actor, "rollback", service, target, reason, where, left=left, passed_over=passed_over)
    except Conflict:
        moved = _fresh(service)
        if from_version is None or moved.live_version == from_version:
            raise
        return _unchanged(moved)


@transaction.atomic
def live_clear(*, actor: Actor, service: Service, reason: str) -> Service:
    """Leaves the service without a live version, and on hold, so that no build brings one back by itself.

    Callers hear NO_LIVE_VERSION within moments, also those that name a version. The versions stay loaded as they are,
    and each can be activated again. Clearing what is empty changes nothing. Raises Conflict (LIVE_MOVED) when the live
    pointer moves at this very moment.
    """
    service = _fresh(service)
    if service.live_version is None:
        return service
    reason = reason.strip()[:REASON_CHARACTERS_MAX]
    held = {"held_at": Now(), "held_reason": sentence(f"Cleared: {reason}")[:REASON_CHARACTERS_MAX]}
    found = Service.objects.filter(pk=service.pk, deleted_at__isnull=True, live_generation=service.live_generation)
    if found.update(**_pointer_to(None, held)) != 1:
        raise _live_moved(service)
    now = _fresh(service)
    alerts_follow_live(now)
    record(
        actor=actor,
        verb="service.clear",
        tenant=now.tenant.name,
        service=now.name,
        reason=reason,
        before={"live_version": service.live_version, "live_generation": service.live_generation},
        after={"live_version": None, "live_generation": now.live_generation},
    )
    routes.publish_after_commit(service.pk)
    return now


def reload_switch(*, reload: Reload) -> Activation:
    """Makes the switch that a reload was for. Raises as version_activate and version_rollback do."""
    actor = Actor(kind=reload.actor_kind, name=reload.actor)
    service = _fresh(reload.service)
    with transaction.atomic():
        reload_end(reload=reload, actor=actor)
        replicas_let_in(version=reload.version)
        left = live_version(service) if reload.kind == "rollback" else None
        where = {"live_generation": reload.live_generation}
        activation = _switch(actor, reload.kind, service, reload.version, reload.reason, where, left=left)
    _resume_waiting_build(reload.version)
    return activation


def activation_settle(*, activation: Activation, laggards: list[str], late: bool) -> Activation:
    """Completes an activation when no gateway lags behind; when some do and it is `late`, names them, with an alert."""
    try:
        if not laggards:
            return _complete(activation)
        if late:
            return _lag(activation, laggards)
    except StateConflict:
        activation.refresh_from_db()  # Who waits for it and the sweeper may both have seen the same.
    return activation


def activation_await(*, activation: Activation) -> Activation:
    """Waits up to ACKNOWLEDGE_SECONDS_MAX until all gateways serve it; the answer's `laggards` are those that do not.

    Not for use in a transaction: the route is published after the commit.
    """
    if activation.loading:
        return activation
    stamp = Stamp(platform_epoch(), activation.route_generation)
    until = time.monotonic() + ACKNOWLEDGE_SECONDS_MAX
    while True:
        try:
            laggards = routes.acknowledged(activation.service, stamp)[1]
        except redis.RedisError as error:
            log.warning("Whether the gateways serve %s is not known: %s", activation, error)
            return activation
        if not laggards:
            return activation_settle(activation=activation, laggards=[], late=False)
        if time.monotonic() > until:
            activation.laggards = laggards
            return activation
        time.sleep(POLL_SECONDS)


@transaction.atomic
def _complete(activation: Activation) -> Activation:
    activation = move(activation, ACTIVATION, ActivationState.COMPLETE, completed_at=Now(), laggards=[])
    activation_alert_end(activation)
    return activation


@transaction.atomic
def _lag(activation: Activation, laggards: list[str]) -> Activation:
    activation = move(activation, ACTIVATION, ActivationState.LAGGING, laggards=laggards)
    activation_alert(activation)
    return activation


@transaction.atomic
def _switch(
    actor: Actor,
    kind: str,
    service: Service,
    version: Version,
    reason: str,
    expected: dict[str, Any],
    *,
    left: Version | None = None,
    claim: Claim | None = None,
    passed_over: str = "",
) -> Activation:
    """The one UPDATE of the live pointer; `left` is what a rollback marks as bad, `passed_over` a refusal that somebody
    would not hear. Raises Conflict.
    """
    if claim is not None:
        fenced_unless_cancelled(claim)
    reason = reason.strip()[:REASON_CHARACTERS_MAX]
    failpoint("activate.before_update")
    found = Service.objects.filter(pk=service.pk, deleted_at__isnull=True, **expected)
    if found.update(**_pointer_to(version.number, _hold(left, reason))) != 1:
        raise _live_moved(service)
    _mark(version, left, reason)
    now = _fresh(service)
    alerts_follow_live(now)
    activation = Activation.objects.create(
        service=service,
        kind=kind,
        from_version=service.live_version,
        to_version=version.number,
        live_generation=now.live_generation,
        route_generation=now.route_generation + now.tenant.route_generation,
        actor=actor.name,
        by_build=claim is not None,
        reason=reason,
    )
    _audit(actor, activation, now, passed_over)
    failpoint("activate.before_commit")
    transaction.on_commit(partial(failpoint, "activate.after_commit"))
    routes.publish_after_commit(service.pk)
    return activation


def _live_moved(service: Service) -> Conflict:
    return Conflict(
        f"The live version of {service.name} moved meanwhile. Look again, then decide.", reason="LIVE_MOVED"
    )


def _pointer_to(number: int | None, hold: dict[str, Any]) -> dict[str, Any]:
    return {
        "live_version": number,
        "live_generation": F("live_generation") + 1,
        "route_generation": F("route_generation") + 1,
        **hold,
    }


def _hold_of(service: Service) -> dict[str, Any]:
    """The hold that the service is on, or that it is on none, as conditions of the UPDATE."""
    if service.held_at is None:
        return {"held_at__isnull": True}
    return {"held_at": service.held_at, "held_reason": service.held_reason}


def _hold(left: Version | None, reason: str) -> dict[str, Any]:
    if left is None:
        return {}
    text = sentence(f"Rolled back from version {left.number}" + (f": {reason}" if reason else ""))
    return {"held_at": Now(), "held_reason": text[:REASON_CHARACTERS_MAX]}


def _mark(version: Version, left: Version | None, reason: str) -> None:
    """Whoever fails or retires `version` at this moment writes to the same row, and one of us is refused."""
    ready = Version.objects.filter(pk=version.pk, state=VersionState.READY)
    hot = {"cold_at": None, "unrouted_at": None}
    if ready.update(activated_at=Now(), bad_at=None, bad_reason="", **hot) != 1:
        raise StateConflict(f"Version {version.number} is not READY any more.")
    servable(version)
    if left is not None:
        Version.objects.filter(pk=left.pk).update(bad_at=Now(), bad_reason=reason or "Rolled back.")


def _load_first(
    actor: Actor, kind: str, service: Service, version: Version, reason: str, *, left: Version | None = None
) -> Activation:
    """The answer while `version` is being loaded; asking again for the same changes nothing."""
    under_way = open_reload(service)
    changed = under_way is None or under_way.version_id != version.pk or under_way.kind != kind
    reason = reason.strip()[:REASON_CHARACTERS_MAX]
    if changed or under_way is None:
        under_way = reload_request(actor=actor, service=service, version=version, kind=kind, left=left, reason=reason)
    answer = Activation(
        service=service,
        kind=kind,
        from_version=service.live_version,
        to_version=version.number,
        live_generation=service.live_generation,
        route_generation=0,
        state=ActivationState.LOADING,
        actor=under_way.actor,
        reason=under_way.reason,
        at=under_way.requested_at,
    )
    answer.changed, answer.loading = changed, reload_told(under_way)
    return answer


def _resume_waiting_build(version: Version) -> None:
    """A build that was held only before the switch to this very version has nothing to wait for any more."""
    waits = Build.objects.filter(pk=version.build_id, state=BuildState.HELD, version_number=version.number)
    build = waits.first()
    if build is None or not build.error_reason.startswith(HELD_BEFORE_SWITCH):
        return
    try:
        build_resume(build=build)
    except StateConflict:
        # Somebody overrode or cancelled it first. The switch has happened all the same, and the caller must hear that.
        log.info("Build %s was moved before it could be resumed.", build.pk)


def _fresh(service: Service) -> Service:
    return Service.objects.select_related("tenant").get(pk=service.pk)


def _unchanged(service: Service) -> Activation:
    activation = activations_of(service).first()
    if activation is None:
        raise FailedPrecondition("Nothing is live yet.", reason="NO_LIVE_VERSION")
    activation.changed = False
    return activation


def _audit(actor: Actor, activation: Activation, service: Service, passed_over: str) -> None:
    record(
        actor=actor,
        verb=f"service.{activation.kind}",
        tenant=service.tenant.name,
        service=service.name,
        target=f"version {activation.to_version}",
        reason=activation.reason,
        before={"live_version": activation.from_version, "live_generation": activation.live_generation - 1},
        after={
            "live_version": activation.to_version,
            "live_generation": activation.live_generation,
            **({"anyway": passed_over} if passed_over else {}),
        },
    )
