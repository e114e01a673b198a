"""Nodes, replicas, gateways, builds and teams, for the platform's administrators."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from console.base import admin_for, page
from versions import operations
from versions.health import platform_health


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    admin_for(request)
    context = {
        "health": platform_health(),
        "nodes": operations.nodes_and_replicas(),
        "builds": operations.builds_under_way(),
        "gateways": operations.gateways(),
        "tenants": operations.tenants_with_counts(),
    }
    return render(request, "console/operations.html", context)
