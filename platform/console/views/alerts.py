"""What is wrong, and what was, in every team that one is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from alerts.actions import alert_acknowledge
from alerts.models import Alert
from alerts.selectors import alert_get, gravest_first, newest_in
from alerts.states import AlertState, Severity
from alerts.views import alert_view
from console.base import caller_of, page, tenant_for, way_back
from console.views.home import TENANTS_ON_HOME_MAX
from tenants.models import NAME_CHARACTERS_MAX, Tenant, is_valid_name
from tenants.permissions import Caller, Permission, is_allowed
from tenants.selectors import tenant_get, tenants_of

TEAMS_TO_CHOOSE_MAX = 500
# Of each team.
UNRESOLVED_SHOWN_MAX = 100
RESOLVED_SHOWN_MAX = 20
# With a filter people look for something, and it may be long over.
RESOLVED_FOUND_MAX = 100


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """Every team's alerts, or those of the one that `?team=` names; narrowed by state, severity and service."""
    caller, team, wanted = caller_of(request), request.GET.get("team", ""), _wanted(request)
    mine = tenants_of(caller)
    found = [tenant_get(caller, team)] if team else list(gravest_first(mine)[: TENANTS_ON_HOME_MAX + 1])
    names = list(mine.values_list("name", flat=True)[:TEAMS_TO_CHOOSE_MAX])
    context = {
        "groups": _groups(found[:TENANTS_ON_HOME_MAX], caller, wanted),
        "teams_left_out": len(found) > TENANTS_ON_HOME_MAX,
        "team": team,
        "teams": names if not team or team in names else [*names, team],
        "wanted": wanted,
        "states": AlertState.values,
        "severities": Severity.values[::-1],
        "here": _address(team, wanted),
    }
    return render(request, "console/alerts.html", context)


@require_POST
@page
def acknowledge(request: HttpRequest, tenant: str, number: int) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.OPERATE)
    alert = alert_acknowledge(actor=caller.actor, alert=alert_get(owner, number))
    messages.success(request, f"You look after alert {alert.number} of {owner.name}.")
    return redirect(way_back(request, request.POST.get("back", ""), "console:alerts"))


def _address(team: str, wanted: dict[str, str]) -> str:
    """Of this page as it is filtered now."""
    filters = {**({"team": team} if team else {}), **wanted}
    return reverse("console:alerts") + (f"?{urlencode(filters)}" if filters else "")


def _wanted(request: HttpRequest) -> dict[str, str]:
    """What the person filters by; what can be in no alert is no filter."""
    service = request.GET.get("service", "").strip()[:NAME_CHARACTERS_MAX]
    typed = {
        "state": request.GET.get("state", "") if request.GET.get("state") in AlertState.values else "",
        "severity": request.GET.get("severity", "") if request.GET.get("severity") in Severity.values else "",
        "service": service if is_valid_name(service) else "",
    }
    return {name: value for name, value in typed.items() if value}


def _groups(tenants: list[Tenant], caller: Caller, wanted: dict[str, str]) -> list[dict[str, object]]:
    over_max = RESOLVED_FOUND_MAX if wanted else RESOLVED_SHOWN_MAX
    # One more than is shown, so that the page can say that there are more.
    now = list(newest_in(tenants, are_over=False, each_max=UNRESOLVED_SHOWN_MAX + 1, **wanted))
    over = list(newest_in(tenants, are_over=True, each_max=over_max + 1, **wanted))
    return [
        {
            "tenant": tenant,
            "may_operate": is_allowed(caller, Permission.OPERATE, tenant),
            "lists": [_list("Now", tenant, now, UNRESOLVED_SHOWN_MAX), _list("Over", tenant, over, over_max)],
        }
        for tenant in tenants
    ]


def _list(title: str, tenant: Tenant, alerts: Sequence[Alert], shown_max: int) -> dict[str, object]:
    own = [alert for alert in alerts if alert.tenant_id == tenant.pk]
    return {
        "title": title,
        "alerts": [_told(alert) for alert in own[:shown_max]],
        "shown_max": shown_max if len(own) > shown_max else None,
    }


def _told(alert: Alert) -> dict[str, Any]:
    """The alert, and how many seconds it lasted when it is over."""
    lasted = (alert.resolved_at - alert.opened_at).total_seconds() if alert.resolved_at else None
    return {**alert_view(alert), "lasted_seconds": lasted}
