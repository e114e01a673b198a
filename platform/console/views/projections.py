"""The projection of a version's items: what a page draws of it, and the neighbours of an item that somebody chose."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from common.errors import NotFound
from console.base import page, service_for
from tenants.permissions import Permission
from versions import projections, selectors


@require_GET
@never_cache
@page
def show(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    """The sample as JSON: its items, where each lies, and their attributes."""
    _, _, found = service_for(request, tenant, service, Permission.VIEW)
    projection = projections.projection_of(selectors.version_get(found, number))
    if projection is None:
        raise NotFound("There is no projection of this version's items.", reason="PROJECTION_NOT_FOUND")
    return JsonResponse(projection.sample)


@require_GET
@never_cache
@page
def neighbours(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    """The items nearest to `?item=`, as this version answers: a part of the page, or without a script a page."""
    caller, owner, found = service_for(request, tenant, service, Permission.QUERY)
    version = selectors.version_get(found, number)
    item = request.GET.get("item", "").strip()
    answer = projections.neighbours(caller=caller, service=found, version=version, item=item)
    context = {"tenant": owner, "service": found, "version": version, "item": item, **answer}
    part = bool(request.headers.get("HX-Request"))
    return render(request, "console/_neighbours.html" if part else "console/neighbours.html", context)
