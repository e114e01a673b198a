"""Cold standby, as the sweeper sees it: unloads what need not be loaded, and carries on what is being loaded again."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.conf import settings

from common.actor import SYSTEM
from versions import actions
from versions.models import Activation, Reload, Replica
from versions.selectors import (
    admissions,
    coolable_versions,
    open_reload,
    open_reloads,
    reachable_replicas,
    thawable_versions,
)
from versions.states import ReplicaState, VersionState
from workers.rooms import NodeRooms, Room
from workers.sweep import LAGGARD_SECONDS_MAX, ROWS_MAX, ago, is_unrouted, unless_moved, unless_redis_is_away

# A load, a warm-up and a check that take longer never end.
RELOAD_SECONDS_MAX = 1_800
# Where a load failed, the next one that nobody asked for comes after so long.
RELOAD_AGAIN_SECONDS = 600
REMEDY = "Add a node or memory, or delete what is not needed, and ask again."


@unless_redis_is_away
def cool_versions() -> None:
    """Out of the routes, drained, unloaded. Where standby is hot again, what is cold is loaded again."""
    for version in coolable_versions().filter(cold_at__isnull=True)[:ROWS_MAX]:
        if open_reload(version.service) is None and _switched_long_ago(version.service.pk):
            unless_moved(partial(actions.version_cool, version=version))
    leaving = coolable_versions().filter(cold_at__isnull=False)
    for version in leaving.filter(unrouted_at__lte=ago(settings.RETIRE_DRAIN_SECONDS))[:ROWS_MAX]:
        unless_moved(partial(actions.version_unload_cold, version=version))
    given_up = set(leaving.filter(cold_at__lte=ago(LAGGARD_SECONDS_MAX)).values_list("pk", flat=True))
    for version in leaving.filter(unrouted_at__isnull=True)[:ROWS_MAX]:
        if version.pk in given_up or is_unrouted(version.service):
            actions.version_unrouted(version=version)
    for version in thawable_versions()[:ROWS_MAX]:
        if not _failed_lately(version.pk):
            unless_moved(partial(actions.reload_request, actor=SYSTEM, service=version.service, version=version))


@unless_redis_is_away
def carry_on_reloads() -> None:
    """Each reload goes one step further: placed, warmed up and checked, switched to."""
    for reload in open_reloads()[:ROWS_MAX]:
        unless_moved(partial(_carry_on, reload))


def _carry_on(reload: Reload) -> None:
    if needless := _needless(reload):
        actions.reload_end(reload=reload, failure=needless, actor=SYSTEM, is_wanted=False)
        return
    failure = _load_errors(reload)
    short = None if failure else _place(reload)
    failure = failure or _no_room(short) or _overdue(reload, short)
    if failure:
        actions.reload_end(reload=reload, failure=failure, actor=SYSTEM)
        return
    reached = reachable_replicas(reload.version)
    ready = [replica for replica in reached if replica.state == ReplicaState.READY]
    if not ready or len(ready) < len(reached):
        return
    actions.reload_order(reload=reload)
    wanted = [order["order_id"] for order in actions.reload_orders(reload)]
    results = [replica.results.get(order_id) for replica in ready for order_id in wanted]
    if not all(results):
        return
    wrong = " ".join(result["error"] for result in results if result and not result["ok"])
    if wrong:
        actions.reload_end(reload=reload, failure=wrong, actor=SYSTEM)
    elif reload.kind:
        actions.reload_switch(reload=reload)
    else:
        actions.reload_keep(reload=reload, actor=SYSTEM)


def _needless(reload: Reload) -> str:
    """Why nobody needs this reload any more; else empty."""
    service, version = reload.service, reload.version
    if service.deleted_at is not None or version.state != VersionState.READY:
        return f"Version {version.number} is on its way out."
    if service.live_generation != reload.live_generation:
        live = "nothing" if service.live_version is None else f"version {service.live_version}"
        return f"Another switch came first: {live} is live."
    return ""


def _overdue(reload: Reload, short: Room | None) -> str:
    """That it will come to nothing; else empty."""
    if Reload.objects.filter(pk=reload.pk, requested_at__lte=ago(RELOAD_SECONDS_MAX)).exists():
        look = f"{short.sentence} {short.remedy}" if short else "Look at its replicas and nodes."
        return f"It was not loaded and checked within {RELOAD_SECONDS_MAX} s. {look}"
    return ""


def _no_room(short: Room | None) -> str:
    """That it fits nowhere, with the number and the remedy; empty while what is too small now will do later."""
    return f"{short.sentence} {short.remedy}" if short and short.need > short.free_later else ""


def _load_errors(reload: Reload) -> str:
    """Of the nodes that could not load it."""
    failed = Replica.objects.filter(version=reload.version, state=ReplicaState.FAILED).select_related("node")
    return " ".join(f"{replica.node.name}: {replica.error}" for replica in failed.order_by("node__name"))


def _place(reload: Reload) -> Room | None:
    """Places what is missing where it fits, by the rule of `admit`; when nothing is placed, the room that is too small.

    A switch that a person asked for goes before the builds in the line, a load that nobody asked for behind them. As
    many replicas as fit are enough to go on with: what then is live and still lacks some, the sweeper looks after.
    """
    version = reload.version
    used = {replica.node.name for replica in reachable_replicas(version)}
    missing = int(version.spec["replicas"]["count"]) - len(used)
    if missing <= 0:
        return None
    fit = NodeRooms(() if reload.kind else admissions()).fit(version, missing, without=used, remedy=REMEDY)
    if fit.nodes:
        actions.reload_place(reload=reload, nodes=fit.nodes)
    return None if used or fit.nodes else fit.short


def _switched_long_ago(service_id: int) -> bool:
    """The minutes after a switch are when somebody goes back, and then it should take no time."""
    lately = ago(settings.COLD_AFTER_SECONDS)
    return not Activation.objects.filter(service=service_id, at__gt=lately).exists()


def _failed_lately(version_id: int) -> bool:
    ended: dict[str, Any] = {"ended_at__gt": ago(RELOAD_AGAIN_SECONDS)}
    return Reload.objects.filter(version=version_id, **ended).exclude(failure="").exists()
