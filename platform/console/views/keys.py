"""Keys for machines: shown once, revoked at once."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from catalog.selectors import services_of
from console.base import page, tenant_for
from console.forms import KeyForm
from tenants.actions import key_create, key_revoke
from tenants.permissions import Permission
from tenants.selectors import key_get, keys_of

KEYS_SHOWN_MAX = 200


@require_GET
@page
def index(request: HttpRequest, tenant: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    form = KeyForm(services=[service.name for service in services_of(owner, caller)])
    return render(
        request, "console/keys.html", {"tenant": owner, "keys": keys_of(owner)[:KEYS_SHOWN_MAX], "form": form}
    )


@require_POST
@never_cache
@page
def create(request: HttpRequest, tenant: str) -> HttpResponse:
    """Shows the key in the answer itself: it is kept nowhere, so that no page can show it again."""
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    services = [service.name for service in services_of(owner, caller)]
    form, made = KeyForm(request.POST, services=services), None
    if form.is_valid():
        made = key_create(actor=caller.actor, tenant=owner, **form.cleaned_data)
        form = KeyForm(services=services)
    context = {"tenant": owner, "keys": keys_of(owner)[:KEYS_SHOWN_MAX], "form": form, "made": made}
    return render(request, "console/keys.html", context)


@require_POST
@page
def revoke(request: HttpRequest, tenant: str, prefix: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    key_revoke(actor=caller.actor, key=key_get(owner, prefix))
    messages.success(request, f"The key rk_{prefix}_… is revoked; gateways refuse it within five seconds.")
    return redirect("console:keys", owner.name)
