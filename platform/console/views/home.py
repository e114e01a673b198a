"""The first page: is anything wrong?"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from catalog.selectors import services_of
from console.base import caller_of, page
from console.cards import card
from tenants.permissions import Permission, is_allowed
from tenants.selectors import tenants_of

# More than this on one page is no overview any more.
TENANTS_ON_HOME_MAX = 50


@require_GET
@page
def home(request: HttpRequest) -> HttpResponse:
    caller = caller_of(request)
    groups = [
        {
            "tenant": tenant,
            "cards": [card(service) for service in services_of(tenant, caller)],
            "may_manage": is_allowed(caller, Permission.MANAGE, tenant),
        }
        for tenant in tenants_of(caller)[:TENANTS_ON_HOME_MAX]
    ]
    return render(request, "console/home.html", {"groups": groups})
