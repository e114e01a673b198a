"""A version and its evidence, two of them side by side; the switch and the way back."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from common.checks import whole_number
from common.errors import InvalidArgument
from console.base import page, service_for
from tenants.permissions import Permission
from versions import projections, selectors
from versions.actions import comparison_ask, version_activate, version_rollback
from versions.comparisons import comparison_view, previous_of, versions_compared
from versions.models import VERSION_NUMBER_MAX, Version

PICKED = 2
PROJECTION_ROWS_SHOWN = 20
PROJECTION_FIELDS = ("items", "of", "attributes")


@require_GET
@page
def show(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    _, owner, found = service_for(request, tenant, service, Permission.VIEW)
    version = selectors.version_get(found, number)
    previous = previous_of(version)
    context = {
        "tenant": owner,
        "service": found,
        "version": selectors.version_view(version),
        "live": found.live_version if found.live_version != number else None,
        "previous": previous.number if previous and previous.number != found.live_version else None,
    }
    return render(request, "console/version.html", context | _projection(version))


@require_GET
@page
def pick(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """From the table of versions to the page of the two that were picked there."""
    _, owner, found = service_for(request, tenant, service, Permission.VIEW)
    numbers = {whole_number(text, most=VERSION_NUMBER_MAX) for text in request.GET.getlist("pick")}
    picked = sorted(number for number in numbers if number is not None)
    if len(picked) != PICKED:
        messages.warning(request, "Pick two versions to compare.")
        return redirect("console:service", owner.name, found.name)
    older, newer = picked
    return redirect("console:version-compare", owner.name, found.name, newer, older)


@require_GET
@page
def compare(request: HttpRequest, tenant: str, service: str, number: int, other: int) -> HttpResponse:
    """What is known at once; the rest a worker finds out, for which the page asks until there is nothing to come."""
    _, owner, found = service_for(request, tenant, service, Permission.VIEW)
    version, beside = versions_compared(found, number, other)
    comparison_ask(version=version, other=beside)
    view = comparison_view(version, beside)
    context = {"tenant": owner, "service": found, "compared": view, "efforts": efforts_of(view["curves"])}
    is_part = request.headers.get("HX-Request") is not None
    return render(request, "console/_compared.html" if is_part else "console/compare.html", context)


@require_POST
@page
def activate(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    # What the confirmation told was beside this live version; another one needs another look.
    seen = _told_number(request, "live_generation")
    activation = version_activate(
        actor=caller.actor,
        service=found,
        number=number,
        reason=request.POST.get("reason", ""),
        expected_live_generation=seen,
        anyway=request.POST.get("anyway") == "on",
    )
    messages.success(request, activation.loading or f"Version {number} is live.")
    return redirect("console:service", owner.name, found.name)


@require_POST
@page
def rollback(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """The form says from which version and to which, so that a click on an old page does nothing it did not tell."""
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    from_version = _told_number(request, "from_version")
    activation = version_rollback(
        actor=caller.actor,
        service=found,
        from_version=from_version,
        expected_target=_told_number(request, "to_version"),
        reason=request.POST.get("reason", ""),
        anyway=request.POST.get("anyway") == "on",
    )
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


def efforts_of(curves: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of both curves as the rows of one table: each effort once, with what each version found there."""
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for side in ("value", "to"):
        curve = curves[side]
        for point in curve["points"] if curve else ():
            name, effort = curve["effort"], point["effort"]
            row = rows.setdefault((name, effort or 0), {"name": name, "effort": effort, "value": None, "to": None})
            row[side] = point
    return [rows[key] for key in sorted(rows)]


def _told_number(request: HttpRequest, field: str) -> int:
    """What the form says that its page told. Raises InvalidArgument."""
    number = whole_number(request.POST.get(field, ""), most=VERSION_NUMBER_MAX)
    if number is None:
        raise InvalidArgument(
            "The form does not say what its page told. Reload the page, and press again.", field=field
        )
    return number
