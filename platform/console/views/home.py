"""The first page: is anything wrong? And the way to any service by a part of its name."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from alerts.selectors import unresolved_in
from catalog.selectors import services_in
from console.base import caller_of, page
from console.listing import listing_of
from tenants.models import Tenant
from tenants.permissions import Permission, is_allowed
from tenants.selectors import keys_ending, tenant_get, tenants_of
from versions.overview import Overview, overviews
from versions.quotas import quota_uses

# More than this on one page is no overview any more.
TENANTS_ON_HOME_MAX = 50
SERVICES_ON_HOME_MAX = 500
ALERTS_ON_HOME_MAX = 10
KEYS_ON_HOME_MAX = 10
FOUND_MAX = 20
SEARCH_CHARACTERS_MAX = 100


@require_GET
@page
def home(request: HttpRequest) -> HttpResponse:
    """Every team's services, or those of the one that `?team=` names."""
    caller, team = caller_of(request), request.GET.get("team", "")
    found = [tenant_get(caller, team)] if team else list(tenants_of(caller)[: TENANTS_ON_HOME_MAX + 1])
    tenants = found[:TENANTS_ON_HOME_MAX]
    services = list(services_in(tenants)[: SERVICES_ON_HOME_MAX + 1])
    rows = {name: list(group) for name, group in groupby(overviews(services[:SERVICES_ON_HOME_MAX]), _tenant_of)}
    managed = [tenant for tenant in tenants if is_allowed(caller, Permission.MANAGE, tenant)]
    ending = listing_of(keys_ending(managed), KEYS_ON_HOME_MAX) if managed else None
    uses = quota_uses(tenants)
    context: dict[str, Any] = {
        "team": team,
        # Of every team, also of those that are left out below.
        "alerts": unresolved_in(tenants if team else tenants_of(caller).order_by())[:ALERTS_ON_HOME_MAX],
        "ending_keys": ending.shown if ending else [],
        "ending_left_out": ending.left_out if ending else 0,
        "left_out": len(services) > SERVICES_ON_HOME_MAX or len(found) > TENANTS_ON_HOME_MAX,
        # An administrator need not be in a team: the demo's own is made for them, as long as there is nothing at all.
        "offer_demo": caller.is_admin and not found and not caller.tenant_roles,
        "groups": [
            {
                "tenant": tenant,
                "rows": rows.get(tenant.name, []),
                "may_manage": tenant in managed,
                "is_member": tenant.name in caller.tenant_roles,
                "near": [use for use in uses[tenant.pk] if use.warns],
            }
            for tenant in tenants
        ],
    }
    return render(request, "console/home.html", context)


@require_GET
@page
def search(request: HttpRequest) -> HttpResponse:
    """Services with this in their name: a list for the search box, a page (or the only one found) for Enter.

    Nothing typed finds every service, of which the page shows the first few.
    """
    q = request.GET.get("q", "").strip()[:SEARCH_CHARACTERS_MAX]
    mine = services_in(tenants_of(caller_of(request)).order_by())
    matching = list(mine.filter(name__icontains=q)[: FOUND_MAX + 1]) if q.isprintable() else []
    found, more = matching[:FOUND_MAX], len(matching) > FOUND_MAX
    if request.headers.get("HX-Request"):
        return render(request, "console/_found.html", {"found": found, "more": more, "q": q}) if q else HttpResponse()
    if q and len(found) == 1:
        return redirect("console:service", found[0].tenant.name, found[0].name)
    return render(request, "console/search.html", {"found": found, "more": more, "q": q})


def _tenant_of(overview: Overview) -> str:
    tenant: Tenant = overview.service.tenant
    return tenant.name
