"""Keys for machines: shown once, replaced without an outage, revoked at once."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from catalog.selectors import services_of
from common.errors import InvalidArgument
from console import once
from console.base import page, tenant_for
from console.forms import KeyForm, RotateForm
from console.permission_words import rungs_of
from tenants.actions import NewKey, key_create, key_revoke, key_rotate
from tenants.models import ApiKey, KeyUse, Tenant
from tenants.permissions import SCOPES, Caller, Permission
from tenants.selectors import active_keys_of, key_get, keys_ending, keys_of, last_uses_of

ENDED_KEYS_SHOWN_MAX = 100


@dataclass(frozen=True)
class Row:
    """One key in the list. `state`: active, replaced, expired or revoked; `use` is its newest use."""

    key: ApiKey
    state: str
    use: KeyUse | None

    @property
    def is_over(self) -> bool:
        return self.state in ("expired", "revoked")

    @property
    def is_still_used(self) -> bool:
        """Whether somebody goes on using a key that was replaced."""
        replaced, used = self.key.rotated_at, self.key.last_used_at
        return self.state == "replaced" and replaced is not None and used is not None and used > replaced


@require_GET
@page
def index(request: HttpRequest, tenant: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    wanted = {name: request.GET[name] for name in ("service", "scope", "name") if name in request.GET}
    return _shown(request, owner, KeyForm(services=_services(caller, owner), initial=wanted))


@require_POST
@never_cache
@page
def create(request: HttpRequest, tenant: str) -> HttpResponse:
    """Shows the key in the answer itself: it is kept nowhere, so that no page can show it again."""
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    services = _services(caller, owner)
    form = KeyForm(request.POST, services=services)
    if not form.is_valid():
        return _shown(request, owner, form)
    if once.is_repetition(request):
        messages.warning(request, "This form was sent before, and a key is shown once. Make a new one if it is lost.")
        return redirect("console:keys", owner.name)
    try:
        made = key_create(actor=caller.actor, tenant=owner, **form.asked())
    except InvalidArgument as error:
        form.add_error(error.field if error.field in form.fields else None, error.message)
        return _shown(request, owner, form)
    return _shown(request, owner, KeyForm(services=services), made=made)


@require_POST
@never_cache
@page
def rotate(request: HttpRequest, tenant: str, prefix: str) -> HttpResponse:
    """As `create`: the new key is shown in this answer and nowhere else."""
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    form, old = RotateForm(request.POST), key_get(owner, prefix)
    if not form.is_valid():
        raise InvalidArgument("Say how long the old key goes on working.", field="overlap_seconds")
    made = key_rotate(actor=caller.actor, key=old, overlap_seconds=form.cleaned_data["overlap_seconds"])
    old = key_get(owner, prefix)
    return _shown(request, owner, KeyForm(services=_services(caller, owner)), made=made, replaced=old)


@require_POST
@page
def revoke(request: HttpRequest, tenant: str, prefix: str) -> HttpResponse:
    caller, owner = tenant_for(request, tenant, Permission.MANAGE)
    key_revoke(actor=caller.actor, key=key_get(owner, prefix))
    messages.success(request, f"The key rk_{prefix}_… is revoked; gateways refuse it within five seconds.")
    return redirect("console:keys", owner.name)


def _shown(
    request: HttpRequest,
    tenant: Tenant,
    form: KeyForm,
    made: NewKey | None = None,
    replaced: ApiKey | None = None,
) -> HttpResponse:
    # Those that open something first, and all of them: no more than so many can be.
    active = list(active_keys_of(tenant))
    ended = keys_of(tenant).exclude(pk__in=[key.pk for key in active])
    keys = [*active, *ended[:ENDED_KEYS_SHOWN_MAX]]
    uses = last_uses_of(keys)
    context = {
        "tenant": tenant,
        "rows": [Row(key, _state(key), uses.get(key.pk)) for key in keys],
        "ending": list(keys_ending([tenant])),
        "form": form,
        "once": once.new_token(),
        "left_out": max(0, ended.count() - ENDED_KEYS_SHOWN_MAX),
        "rotate_form": RotateForm(auto_id=False),
        "scopes": rungs_of(SCOPES),
        "made": made,
        "replaced": replaced,
        "replaced_has_ended": replaced is not None and _state(replaced) == "expired",
    }
    return render(request, "console/keys.html", context)


def _services(caller: Caller, tenant: Tenant) -> list[str]:
    return [service.name for service in services_of(tenant, caller)]


def _state(key: ApiKey) -> str:
    now = timezone.now()
    if key.revoked_at:
        return "revoked"
    if key.expires_at and key.expires_at <= now:
        return "expired"
    if key.rotated_at:
        return "replaced"
    return "active"
