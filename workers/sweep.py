"""The reconciler: whatever was lost or left undone, the next tick finds in the rows. Beat rings for each function.

Every function may run twice at once and may stop anywhere. None raises for Redis being away: the next tick tries again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial, reduce, wraps
from operator import or_
from typing import Any, ParamSpec

import redis
from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from alerts.actions import alerts_resolve
from alerts.states import ALERT_UNRESOLVED
from catalog.models import Service
from common.actor import SYSTEM
from common.dispatch import ring
from common.errors import Conflict, FailedPrecondition, StateConflict
from documents.store import Stamp
from versions import actions, routes
from versions.checked import HELD_BEFORE_SWITCH, HELD_BY_SERVICE
from versions.groups import GROUP_INCOMPLETE, others_of
from versions.models import Activation, Build, Version
from versions.reconcile import reconcile
from versions.selectors import joining_replicas, pending_in_turn, platform_epoch, retirable, short_of_replicas
from versions.states import BUILD_UNFINISHED, PLACED, ActivationState, BuildState, StepState, VersionState
from workers import doorbell, reports
from workers.overrides import told
from workers.rooms import NodeRooms
from workers.steps.activate import left_behind

log = logging.getLogger(__name__)

# Rows that one tick looks at, for each kind.
ROWS_MAX = 200
# So many builds of one tenant are rung for in one tick; more than one, because the first may be taken meanwhile.
PENDING_OF_TENANT_MAX = 5
# A build that was just asked for is rung for by whoever asked.
RING_AFTER_SECONDS = 3
LAGGING_AFTER_SECONDS = 2
# A gateway that holds its lease and serves an old route for so long does not keep a version loaded any more.
LAGGARD_SECONDS_MAX = 600
HELD_LOADED_SECONDS = 600
REPLENISH_REMEDY = "Add a node or memory; as soon as it fits it is loaded there by itself."
HELD_SECONDS_MAX = 7 * 24 * 3600

IS_HELD_BEFORE_SWITCH = reduce(or_, (Q(error_reason__startswith=begin) for begin in HELD_BEFORE_SWITCH))

P = ParamSpec("P")


def unless_redis_is_away(tick: Callable[P, None]) -> Callable[P, None]:
    @wraps(tick)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            tick(*args, **kwargs)
        except redis.RedisError as error:
            log.warning("%s: Redis is away (%s).", tick.__name__, error)

    return quiet


@unless_redis_is_away
def due_builds() -> None:
    """Rings for builds that wait for a worker."""
    woken = Q(state=BuildState.RUNNING, wake_at__lte=Now())
    abandoned = Q(state=BuildState.RUNNING, wake_at__isnull=True, lease_until__lt=Now())
    begun = Build.objects.filter(woken | abandoned).order_by("pk")
    for due in (begun, _pending_in_turn()):
        for build_id, fence in due.values_list("pk", "fence")[:ROWS_MAX]:
            if doorbell.may_ring(build_id, fence):
                ring("build.run", build_id)


@unless_redis_is_away
def collect_reports() -> None:
    """Turns nodes' reports into rows, and gateways' into completed activations."""
    reports.collect()
    unsettled = Activation.objects.exclude(state=ActivationState.COMPLETE).select_related("service__tenant")
    waiting = list(unsettled.order_by("-pk")[:ROWS_MAX])
    if not waiting:
        return
    late = set(unsettled.filter(at__lte=ago(LAGGING_AFTER_SECONDS)).values_list("pk", flat=True))
    served, epoch = routes.served_stamps(), platform_epoch()
    for activation in waiting:
        laggards = routes.laggards_of(activation.service, Stamp(epoch, activation.route_generation), served)
        actions.activation_settle(activation=activation, laggards=laggards, late=activation.pk in late)


@unless_redis_is_away
def reconcile_documents() -> None:
    """Redis follows the rows."""
    done = reconcile()
    if done.routes or done.placements:
        log.info("Published again: %s routes, %s placements (epoch %s).", done.routes, done.placements, done.epoch)


@unless_redis_is_away
def retire_versions() -> None:
    """Moves versions on their way out: unrouted, drained, unloaded, and at last RETIRED."""
    retiring = Version.objects.filter(state=VersionState.RETIRING).select_related("service__tenant").order_by("pk")
    drained = retiring.filter(unrouted_at__lte=ago(settings.RETIRE_DRAIN_SECONDS))
    for version in drained.filter(replicas__state__in=PLACED).distinct()[:ROWS_MAX]:
        actions.version_unload(version=version)
    old = retiring.filter(retiring_at__lte=ago(settings.RETIRE_FILES_SECONDS), unrouted_at__isnull=False)
    for version in old.exclude(replicas__state__in=PLACED)[:ROWS_MAX]:
        unless_moved(partial(actions.version_retired, version=version))
    given_up = set(retiring.filter(retiring_at__lte=ago(LAGGARD_SECONDS_MAX)).values_list("pk", flat=True))
    for version in retiring.filter(unrouted_at__isnull=True)[:ROWS_MAX]:
        if version.pk in given_up or is_unrouted(version.service):
            actions.version_unrouted(version=version)


@unless_redis_is_away
def replenish_versions() -> None:
    """Loads a live version, or what a rollback goes to, elsewhere when replicas of it are lost for good.

    A replica that died is respawned by its agent, and an agent that returns is told by its placements.
    """
    # After an outage of ours every node looks lost until its report has been read.
    short = {version.pk: (version, missing) for version, missing in short_of_replicas(reports.collect())}
    actions.room_alerts_end(but=[version for version, _ in short.values()])
    if not short:
        return
    nodes = NodeRooms()  # What is live, and the way back from it, goes before the builds in the line.
    turn = set(doorbell.in_turn("replenish", dict.fromkeys(short, 1), most=ROWS_MAX))
    for key in (key for key in short if key in turn):
        _replenish(*short[key], nodes)


def join_replicas() -> None:
    """Has what was loaded in place of lost replicas checked and warmed up, and then asked by gateways."""
    for replica in joining_replicas()[:ROWS_MAX]:
        unless_moved(partial(actions.replica_join, replica=replica))


def _replenish(version: Version, missing: int, nodes: NodeRooms) -> None:
    """Places what is missing where it fits, by the rule of `admit`; where nothing fits, what is live stays as it is."""
    used = set(version.replicas.filter(state__in=PLACED).values_list("node__name", flat=True))
    fit = nodes.fit(version, missing, without=used, remedy=REPLENISH_REMEDY)
    if fit.nodes:
        log.warning("%s lacks %s replicas: it is loaded on %s.", version, missing, ", ".join(map(str, fit.nodes)))
        unless_moved(partial(actions.replicas_replenish, version=version, nodes=fit.nodes))
    if fit.short is not None:
        message = f"{missing - len(fit.nodes)} replicas are lost. {fit.short.sentence} {fit.short.remedy}"
        actions.room_alert(version=version, message=message, evidence=fit.short.to_dict())


def tend_held_builds() -> None:
    """Resumes those whose service was released or whose group can be complete, gives memory back, ends forgotten."""
    held = Build.objects.filter(state=BuildState.HELD).order_by("pk")
    for build in held.filter(error_reason=HELD_BY_SERVICE, service__held_at__isnull=True)[:ROWS_MAX]:
        unless_moved(partial(actions.build_resume, build=build))
    for build in held.filter(error_reason=GROUP_INCOMPLETE).select_related("service__tenant")[:ROWS_MAX]:
        _tend_group(build)
    # Whoever made its version live resumes such a build, and may have died in between.
    switched = held.filter(
        IS_HELD_BEFORE_SWITCH, versions__number=F("version_number"), versions__activated_at__isnull=False
    )
    for build in switched[:ROWS_MAX]:
        unless_moved(partial(actions.build_resume, build=build))
    loaded = Version.objects.filter(activated_at__isnull=True, replicas__state__in=PLACED).distinct()
    for version in loaded.filter(build__in=_held_since(held, HELD_LOADED_SECONDS))[:ROWS_MAX]:
        actions.version_unload_held(version=version)
    for build in _held_since(held, HELD_SECONDS_MAX)[:ROWS_MAX]:
        message = f"Nobody decided within {HELD_SECONDS_MAX // 86_400} days."
        actions.build_expire(build=build, reason="build.expired", message=message)


def _tend_group(build: Build) -> None:
    """Who is left behind may have changed, which the build looks at again itself, or only why."""
    hold = left_behind(others_of(build))
    if hold is None or told(hold) != build.report.get("held", {}).get("told"):
        unless_moved(partial(actions.build_resume, build=build))
    else:
        unless_moved(partial(actions.build_hold_retell, build=build, message=hold.message))


def close_deleted_services() -> None:
    """What a deleted service leaves: its unfinished builds and alerts end, its versions go the usual way out."""
    unfinished = Build.objects.filter(service__deleted_at__isnull=False, state__in=BUILD_UNFINISHED)
    # A worker that has one ends it as soon as it looks, and need not be asked again each time.
    heard = Q(cancel_requested_at__isnull=False, state=BuildState.RUNNING, wake_at__isnull=True)
    for build in unfinished.exclude(heard).order_by("pk")[:ROWS_MAX]:
        unless_moved(partial(actions.build_cancel, actor=SYSTEM, build=build))
    alarmed = Service.objects.filter(deleted_at__isnull=False, alerts__state__in=ALERT_UNRESOLVED).distinct()
    for service in alarmed.order_by("pk")[:ROWS_MAX]:
        alerts_resolve(service=service)
    leaving = Service.objects.filter(deleted_at__isnull=False, versions__state=VersionState.READY).distinct()
    for service in leaving.select_related("tenant").order_by("pk")[:ROWS_MAX]:
        for version in retirable(service, keep=0):
            unless_moved(partial(actions.version_retire, version=version))


def _pending_in_turn() -> QuerySet[Build]:
    """Builds that nobody has begun, a few of each tenant that has room for one more."""
    pending = pending_in_turn().filter(requested_at__lte=ago(RING_AFTER_SECONDS))
    return pending.filter(turn__lte=PENDING_OF_TENANT_MAX)


def ago(seconds: float) -> Any:
    """A moment of the database's clock."""
    return Now() - timedelta(seconds=seconds)


def is_unrouted(service: Service) -> bool:
    """Whether every leased gateway serves the route as it is now, which does not name a retiring version."""
    stamp = Stamp(platform_epoch(), service.route_generation + service.tenant.route_generation)
    return routes.acknowledged(service, stamp)[0]


def _held_since(held: Any, seconds: float) -> Any:
    return held.filter(steps__state=StepState.HELD, steps__ended_at__lte=ago(seconds))


def unless_moved(action: Callable[[], object]) -> None:
    """What somebody else has moved meanwhile is looked at again by the next tick."""
    try:
        action()
    except (Conflict, StateConflict, FailedPrecondition) as error:
        log.info("%s", error.message)
