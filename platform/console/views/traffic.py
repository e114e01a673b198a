"""What callers asked of a service, for its charts."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from common.checks import whole_number
from common.errors import InvalidArgument
from console.base import page, service_for
from tenants.permissions import Permission
from versions.traffic import HOURS_MAX, history_of

# What the page offers.
HOURS = (1, 6, 24)


@require_GET
@never_cache
@page
def show(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """The last `?hours=` as JSON: a list of values for each figure, with a point for every step."""
    _, _, found = service_for(request, tenant, service, Permission.VIEW)
    hours = whole_number(request.GET.get("hours", "1"), most=HOURS_MAX)
    if not hours:
        raise InvalidArgument(f"Say how many hours, as a whole number from 1 to {HOURS_MAX}.", field="hours")
    return JsonResponse(asdict(history_of(found, hours=hours)))
