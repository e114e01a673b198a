"""A version and its evidence; the switch and the way back."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from common.errors import InvalidArgument
from console.base import page, service_for
from tenants.permissions import Permission
from versions import projections, selectors
from versions.actions import version_activate, version_rollback
from versions.models import Version

VERSION_DIGITS_MAX = 9
PROJECTION_ROWS_SHOWN = 20
PROJECTION_FIELDS = ("items", "of", "attributes")


@require_GET
@page
def show(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    _, owner, found = service_for(request, tenant, service, Permission.VIEW)
    version = selectors.version_get(found, number)
    context = {"tenant": owner, "service": found, "version": selectors.version_view(version)}
    return render(request, "console/version.html", context | _projection(version))


@require_POST
@page
def activate(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    reason = request.POST.get("reason", "")
    activation = version_activate(actor=caller.actor, service=found, number=number, reason=reason)
    messages.success(request, activation.loading or f"Version {number} is live.")
    return redirect("console:service", owner.name, found.name)


@require_POST
@page
def rollback(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """The form says from which version, so that a second click on an old page changes nothing."""
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    from_version = _version_number(request.POST.get("from_version", ""))
    reason = request.POST.get("reason", "")
    activation = version_rollback(actor=caller.actor, service=found, from_version=from_version, reason=reason)
    if activation.loading:
        messages.warning(request, activation.loading)
    elif activation.changed:
        messages.success(request, f"Back on version {activation.to_version}; version {from_version} is marked bad.")
    else:
        messages.info(request, f"Version {from_version} was not live any more; nothing changed.")
    return redirect("console:service", owner.name, found.name)


def _projection(version: Version) -> dict[str, object]:
    """Its items as a projection and as the beginning of a table; whoever may look may ask, if the version is loaded."""
    projection = projections.projection_of(version)
    if projection is None:
        return {"projection": None}
    sample = projection.sample
    shown = {"percent_shown": round(100 * sum(sample["shown"])), **{name: sample[name] for name in PROJECTION_FIELDS}}
    rows = projections.sample_rows(projection, PROJECTION_ROWS_SHOWN)
    return {"projection": shown, "projection_rows": rows, "asks_neighbours": projections.can_be_asked(version)}


def _version_number(text: str) -> int:
    if not text.isdigit() or len(text) > VERSION_DIGITS_MAX:
        raise InvalidArgument("Say from which version to roll back, as a whole number.", field="from_version")
    return int(text)
