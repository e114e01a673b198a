"""Looking at a service; it is created by `console.wizard`."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from catalog.actions import service_hold, service_release
from catalog.models import Service
from console.base import page, service_for
from console.views.traffic import HOURS
from tenants.models import Tenant
from tenants.permissions import Caller, Permission, is_allowed
from versions import selectors
from versions.outlook import release_outlook
from versions.overview import overviews
from versions.switches import switches_from
from versions.traffic import history_of, rows_of

BUILDS_SHOWN_MAX = 10
VERSIONS_SHOWN_MAX = 20
# The last hour as a table, in steps of five minutes.
ROWS_OF_TRAFFIC = 12


@require_GET
@page
def show(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.VIEW)
    traffic = {"traffic_hours": HOURS, "traffic_rows": rows_of(history_of(found, hours=1, points_max=ROWS_OF_TRAFFIC))}
    return render(request, "console/service.html", _context(caller, owner, found) | traffic)


@require_GET
@page
def status(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """The part of the service page that changes by itself; it stops asking when nothing is under way."""
    caller, owner, found = service_for(request, tenant, service, Permission.VIEW)
    context = _context(caller, owner, found)
    # The page was drawn before anything was live: now it gets its query box.
    context["bring_ask"] = request.GET.get("live") == "0" and found.live_version is not None
    return render(request, "console/_service_status.html", context)


@require_POST
@page
def hold(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    service_hold(actor=caller.actor, service=found, reason=request.POST.get("reason", ""))
    messages.success(request, "On hold: builds go on, but nothing is activated by itself.")
    return redirect("console:service", owner.name, found.name)


@require_POST
@page
def release(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    outlook = release_outlook(found)
    service_release(actor=caller.actor, service=found)
    messages.success(request, f"Released. {outlook}")
    return redirect("console:service", owner.name, found.name)


def _context(caller: Caller, tenant: Tenant, service: Service) -> dict[str, object]:
    target, live = selectors.rollback_target(service), selectors.live_version(service)
    builds = list(selectors.builds_of(service).prefetch_related("steps")[:BUILDS_SHOWN_MAX])
    versions = list(selectors.versions_of(service)[:VERSIONS_SHOWN_MAX])
    views = [selectors.version_view(version) for version in versions]
    activatable = [version for version, view in zip(versions, views, strict=True) if view["activatable"]]
    return {
        "tenant": tenant,
        "service": service,
        "overview": overviews([service])[0],
        "engine_reason": selectors.engine_reason(live) if live else "",
        "recall_label": f"Recall@{service.spec['search']['at']}",
        "on_release": release_outlook(service) if service.held_at else "",
        "builds": [selectors.build_view(build) for build in builds],
        "versions": views,
        "switches": switches_from(live, [*activatable, *([target] if target else [])]),
        "replicas": [selectors.replica_view(replica) for replica in selectors.replicas_of(service)],
        "activations": selectors.activations_of(service)[:BUILDS_SHOWN_MAX],
        "rollback_target": target.number if target else None,
        "rollback_loads": target is not None and target.cold_at is not None,
        "busy": any(build.state in ("PENDING", "RUNNING") for build in builds),
        "may_operate": is_allowed(caller, Permission.OPERATE, tenant, service.name),
        "may_build": is_allowed(caller, Permission.BUILD, tenant, service.name),
        "may_manage": is_allowed(caller, Permission.MANAGE, tenant),
    }
