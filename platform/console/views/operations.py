"""Nodes, replicas, gateways, builds and teams, for the platform's administrators."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from audit.selectors import events_of
from common.errors import Conflict, InvalidArgument, NotFound
from console.base import admin_for, page
from console.forms import TeamForm
from engines import settings as engine_settings
from tenants.actions import tenant_create
from versions import operations
from versions.health import platform_health
from versions.standing import Standing

EVENTS_SHOWN_MAX = 20


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    admin_for(request)
    return _shown(request, TeamForm())


@require_POST
@page
def team_create(request: HttpRequest) -> HttpResponse:
    caller, form = admin_for(request), TeamForm(request.POST)
    if not form.is_valid():
        return _shown(request, form)
    given = form.cleaned_data
    try:
        made = tenant_create(actor=caller.actor, name=given["name"], title=given["title"], owner=given["owner"] or None)
    except (Conflict, InvalidArgument, NotFound) as error:
        form.take(error)
        return _shown(request, form)
    messages.success(request, f"The team {made.name} is there. Who belongs to it?")
    return redirect("console:members", made.name)


def _shown(request: HttpRequest, form: TeamForm) -> HttpResponse:
    context = {
        "health": platform_health(),
        "nodes": operations.nodes_and_replicas(),
        "nodes_left_out": operations.nodes_left_out(),
        "servers": operations.index_servers(),
        "servers_wrong": engine_settings.wrong(),
        "well": Standing.WELL,
        "mute": Standing.MUTE,
        "builds": operations.builds_under_way(),
        "gateways": operations.gateways(),
        "events": events_of("", limit=EVENTS_SHOWN_MAX),
        "tenants": operations.tenants_with_counts(),
        "tenants_left_out": operations.tenants_left_out(),
        "form": form,
    }
    return render(request, "console/operations.html", context)
