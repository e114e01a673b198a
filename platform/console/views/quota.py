"""What a team uses of what it may, before a limit says no."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from common.errors import InvalidArgument
from console.base import page, tenant_for
from console.forms import QuotaForm
from tenants.actions import quota_update
from tenants.models import Tenant
from tenants.permissions import Caller, Permission, is_allowed
from tenants.selectors import quota_of
from versions.quotas import quota_uses

# The busiest moment of so long counts as what is asked of a team.
PEAK_SECONDS = 3600


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest, tenant: str) -> HttpResponse:
    needed = Permission.ADMIN if request.method == "POST" else Permission.VIEW
    caller, owner = tenant_for(request, tenant, needed)
    quota = quota_of(owner)
    form = QuotaForm(request.POST or None, initial=QuotaForm.initial_of(quota))
    if request.method == "POST" and form.is_valid():
        try:
            _change(request, caller, owner, form.changes())
        except InvalidArgument as error:
            form.take(error)
        else:
            return redirect("console:quota", owner.name)
    context = {
        "tenant": owner,
        "uses": quota_uses([owner], peak_seconds=PEAK_SECONDS)[owner.pk],
        "form": form,
        "may_manage": is_allowed(caller, Permission.MANAGE, owner),
        "may_change": is_allowed(caller, Permission.ADMIN, owner),
    }
    return render(request, "console/quota.html", context)


def _change(request: HttpRequest, caller: Caller, tenant: Tenant, changes: dict[str, int]) -> None:
    if not changes:
        messages.info(request, "Nothing was changed.")
        return
    quota_update(actor=caller.actor, tenant=tenant, **changes)
    messages.success(request, f"The quota of {tenant.name} is changed; gateways hear of it within a second.")
