"""Looking at a service; it is created by `console.wizard`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from alerts.selectors import critical_of
from catalog.actions import service_hold, service_release
from catalog.models import Service
from common.errors import Conflict
from console.base import page, service_for
from console.listing import listing_of
from console.views.traffic import HOURS
from tenants.models import Tenant
from tenants.permissions import Caller, Permission, is_allowed
from versions import selectors
from versions.actions.standby import reload_told
from versions.groups import group_of, other_members_of
from versions.models import Activation, Build, Version
from versions.outlook import release_outlook
from versions.overview import overviews
from versions.selectors import open_reload
from versions.standing import Standing
from versions.states import ActivationState, BuildState
from versions.switches import switches_from
from versions.traffic import history_of, rows_of

# Of builds, versions and switches; with ?history=all.
BUILDS_SHOWN_MAX, BUILDS_OF_HISTORY_MAX = 10, 200
VERSIONS_SHOWN_MAX, VERSIONS_OF_HISTORY_MAX = 20, 200
# Of the critical alerts above everything else; the page of alerts has them all.
CRITICAL_SHOWN_MAX = 3
# Gateways take a switch within moments, or the sweeper names who lags; the page asks for so long.
SWITCH_SECONDS_WATCHED = 60
# The last hour as a table, in steps of five minutes.
ROWS_OF_TRAFFIC = 12


@require_GET
@page
def show(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.VIEW)
    traffic = {"traffic_hours": HOURS, "traffic_rows": rows_of(history_of(found, hours=1, points_max=ROWS_OF_TRAFFIC))}
    return render(request, "console/service.html", _context(request, caller, owner, found) | traffic)


@require_GET
@page
def status(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """The part of the service page that changes by itself; it stops asking when nothing is under way."""
    caller, owner, found = service_for(request, tenant, service, Permission.VIEW)
    context = _context(request, caller, owner, found)
    context["is_part"] = True
    # The page was drawn before anything was live: now it gets its query box.
    context["bring_ask"] = request.GET.get("live") == "0" and found.live_version is not None
    return render(request, "console/_service_status.html", context)


@require_POST
@page
def hold(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    if found.held_at is not None:
        message = f"It is on hold already, since {found.held_at:%Y-%m-%d %H:%M} UTC: {found.held_reason}"
        raise Conflict(message, reason="HELD_ALREADY")
    service_hold(actor=caller.actor, service=found, reason=request.POST.get("reason", ""))
    messages.success(request, "On hold: builds go on, but nothing is activated by itself.")
    return redirect("console:service", owner.name, found.name)


@require_POST
@page
def release(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    outlook = release_outlook(found)
    if request.POST.get("outlook", "") != outlook:
        message = f"Nothing was released: what that does has changed. {outlook} Press again if that is what you want."
        raise Conflict(message, reason="OUTLOOK_CHANGED")
    service_release(actor=caller.actor, service=found)
    messages.success(request, f"Released. {outlook}")
    return redirect("console:service", owner.name, found.name)


def _context(request: HttpRequest, caller: Caller, tenant: Tenant, service: Service) -> dict[str, object]:
    whole = request.GET.get("history") == "all"
    target, live, reload = selectors.rollback_target(service), selectors.live_version(service), open_reload(service)
    most = BUILDS_OF_HISTORY_MAX if whole else BUILDS_SHOWN_MAX
    builds = listing_of(selectors.builds_of(service).prefetch_related("steps"), most)
    activations = listing_of(selectors.activations_of(service), most)
    versions = listing_of(selectors.versions_of(service), VERSIONS_OF_HISTORY_MAX if whole else VERSIONS_SHOWN_MAX)
    # However many newer ones there are, the way back stands on the page.
    shown = _with(versions.shown, [live, target])
    views = [selectors.version_view(version) for version in shown]
    activatable = [version for version, view in zip(shown, views, strict=True) if view["activatable"]]
    goals = [*activatable, *([target] if target else [])]
    switches, critical = switches_from(live, goals), list(critical_of(service)[:CRITICAL_SHOWN_MAX])
    return {
        "tenant": tenant,
        "service": service,
        "overview": overviews([service])[0],
        "engine_reason": selectors.engine_reason(live) if live else "",
        "recall_label": f"Recall@{service.spec['search']['at']}",
        "on_release": release_outlook(service) if service.held_at else "",
        "moves_with": [member.name for member in other_members_of(service)] if group_of(service) else [],
        "builds": [selectors.build_view(build) for build in builds.shown],
        "versions": views,
        "versions_left_out": max(0, versions.left_out - (len(shown) - len(versions.shown))),
        "has_history": max(builds.left_out, activations.left_out, versions.left_out) > 0,
        "whole_history": whole,
        "switches": switches,
        "critical": critical,
        "way_out": _way_out(switches, target) if critical else "",
        "loads_first": selectors.needing_a_load(goals),
        "loading": reload_told(reload) if reload else "",
        "replicas": [selectors.replica_view(replica) for replica in selectors.replicas_of(service)],
        "activations": activations.shown,
        "rollback_target": target.number if target else None,
        "busy": reload is not None or _is_under_way(builds.shown, activations.shown),
        "may_operate": is_allowed(caller, Permission.OPERATE, tenant, service.name),
        "may_build": is_allowed(caller, Permission.BUILD, tenant, service.name),
        "may_manage": is_allowed(caller, Permission.MANAGE, tenant),
    }


def _with(versions: list[Version], others: Iterable[Version | None]) -> list[Version]:
    """The newest versions and these, each once, newest first."""
    found = {version.number: version for version in (*versions, *others) if version is not None}
    return [found[number] for number in sorted(found, reverse=True)]


def _way_out(switches: Mapping[int, Mapping[str, Any]], target: Version | None) -> str:
    """Where a rollback leads, for who stands before a critical alert; what is wrong and why that alert says itself."""
    if target is None:
        return "There is no version to roll back to: what is wrong has to be mended, or a drop built again."
    there = switches[target.number]["health"]["there"]
    if there is None:
        return f"A rollback goes to version {target.number}, which is loaded and checked before it answers."
    if there.standing == Standing.WELL:
        return f"A rollback goes to version {target.number}, which is well."
    return f"A rollback would go to version {target.number}, but that {there.text}."


def _is_under_way(builds: list[Build], activations: list[Activation]) -> bool:
    """Whether the page is about to change by itself."""
    fresh_since = timezone.now() - timedelta(seconds=SWITCH_SECONDS_WATCHED)
    switching = [each for each in activations[:1] if each.state == ActivationState.PENDING and each.at > fresh_since]
    return bool(switching) or any(build.state in (BuildState.PENDING, BuildState.RUNNING) for build in builds)
