"""What is wrong, in every team that one is in."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from alerts.actions import alert_acknowledge
from alerts.selectors import alert_get, alerts_of
from alerts.states import AlertState
from alerts.views import alert_view
from console.base import caller_of, page, tenant_for
from console.views.home import TENANTS_ON_HOME_MAX
from tenants.models import Tenant
from tenants.permissions import Caller, Permission, is_allowed
from tenants.selectors import tenants_of

# Of each team.
UNRESOLVED_SHOWN_MAX = 100
RESOLVED_SHOWN_MAX = 20


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    caller = caller_of(request)
    groups = [_group(tenant, caller) for tenant in tenants_of(caller)[:TENANTS_ON_HOME_MAX]]
    return render(request, "console/alerts.html", {"groups": groups})


@require_POST
@page
def acknowledge(request: HttpRequest, tenant: str, number: int) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.OPERATE)
    alert = alert_acknowledge(actor=caller.actor, alert=alert_get(owner, number))
    messages.success(request, f"You look after alert {alert.number} of {owner.name}.")
    return redirect("console:alerts")


def _group(tenant: Tenant, caller: Caller) -> dict[str, object]:
    alerts = alerts_of(tenant).prefetch_related("deliveries")
    unresolved = alerts.exclude(state=AlertState.RESOLVED)[:UNRESOLVED_SHOWN_MAX]
    resolved = alerts.filter(state=AlertState.RESOLVED)[:RESOLVED_SHOWN_MAX]
    return {
        "tenant": tenant,
        "may_operate": is_allowed(caller, Permission.OPERATE, tenant),
        "lists": [
            {"title": "Now", "empty": "Nothing is wrong.", "alerts": [alert_view(alert) for alert in unresolved]},
            {"title": "Over", "empty": "", "alerts": [alert_view(alert) for alert in resolved]},
        ],
    }
