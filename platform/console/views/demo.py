"""The first action of somebody who has nothing yet: the demo's service, registered and built while they watch."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from console.base import admin_for, page, tenant_for
from tenants.permissions import Permission
from versions.actions import demo_load, demo_tenant
from versions.models import Build


@require_POST
@page
def load(request: HttpRequest, tenant: str) -> HttpResponse:
    """Into a team in which one may register services."""
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    return _watch(demo_load(actor=caller.actor, tenant=owner))


@require_POST
@page
def load_for_all(request: HttpRequest) -> HttpResponse:
    """Into the team `demo`, for an administrator, who need not be in any team."""
    actor = admin_for(request).actor
    return _watch(demo_load(actor=actor, tenant=demo_tenant(actor=actor)))


def _watch(build: Build) -> HttpResponse:
    return redirect("console:build", build.service.tenant.name, build.service.name, build.number)
