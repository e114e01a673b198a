"""Asking for a build, and watching it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from console.base import page, service_for
from tenants.permissions import Permission, is_allowed
from versions import selectors
from versions.actions import build_cancel, build_override, build_request, build_retry
from versions.models import Build
from versions.outlook import bad_twin
from versions.states import BUILD_FINAL, DUPLICATE, StepState
from versions.views import looks_again

# While a build runs, its page shows so many lines of its log; then all of them.
LOG_TAIL = 15


@require_POST
@page
def request_build(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.BUILD)
    drop, force = request.POST.get("drop", ""), request.POST.get("force") == "on"
    build = build_request(actor=caller.actor, service=found, drop=drop, force=force)
    return redirect("console:build", owner.name, found.name, build.number)


@require_GET
@page
def show(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    return render(request, "console/build.html", _context(request, tenant, service, number))


@require_GET
@page
def progress(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    """The part of the build page that changes; once the state is final it no longer asks for itself.

    Who waits for a build that turns out to repeat another one is led to that one.
    """
    context = _context(request, tenant, service, number)
    response = render(request, "console/_build_progress.html", context)
    twin = context["twin"]
    if request.headers.get("HX-Request") and twin is not None:
        messages.info(request, f"Build {number} was not needed: it is the same as this one.{_of_a_bad_one(context)}")
        response["HX-Redirect"] = reverse("console:build", args=[tenant, service, twin])
    return response


@require_POST
@page
def cancel(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.BUILD)
    build_cancel(actor=caller.actor, build=selectors.build_get(found, number))
    return redirect("console:build", owner.name, found.name, number)


@require_POST
@page
def retry(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.BUILD)
    build_retry(actor=caller.actor, build=selectors.build_get(found, number))
    return redirect("console:build", owner.name, found.name, number)


@require_POST
@page
def override(request: HttpRequest, tenant: str, service: str, number: int) -> HttpResponse:
    caller, owner, found = service_for(request, tenant, service, Permission.OPERATE)
    build = selectors.build_get(found, number)
    # What was read; a page that lay open may tell of another guard than the one that holds it now.
    expected = (request.POST.get("step", ""), request.POST.get("guard", ""))
    build_override(actor=caller.actor, build=build, reason=request.POST.get("reason", ""), expected=expected)
    return redirect("console:build", owner.name, found.name, number)


def _context(request: HttpRequest, tenant: str, service: str, number: int) -> dict[str, object]:
    caller, owner, found = service_for(request, tenant, service, Permission.VIEW)
    build = selectors.build_get(found, number)
    shown = selectors.build_detail_view(build)
    final, whole_log = build.state in BUILD_FINAL, request.GET.get("log") == "all"
    lines = shown["log"] if final or whole_log else shown["log"][-LOG_TAIL:]
    return {
        "tenant": owner,
        "service": found,
        "row": build,
        "build": shown,
        "now": timezone.now(),
        "done_count": sum(step["state"] == StepState.DONE for step in shown["steps"]),
        "lines": lines,
        "lines_before": len(shown["log"]) - len(lines),
        "whole_log": whole_log,
        "seconds_before": {} if final else selectors.seconds_before(build),
        "passed": list(_passed(build)),
        "looks_again": looks_again(build.error_reason),
        "twin": build.report.get("same_as", {}).get("build") if build.error_reason == DUPLICATE else None,
        "final": final,
        "live_version": found.live_version,
        "may_build": is_allowed(caller, Permission.BUILD, owner, found.name),
        "may_operate": is_allowed(caller, Permission.OPERATE, owner, found.name),
    }


def _of_a_bad_one(context: dict[str, Any]) -> str:
    """What to do when the twin's version was rolled back from."""
    bad = bad_twin(context["row"])
    if bad is None:
        return ""
    return (
        f" Version {bad.number}, which its drop made, was rolled back from: deliver a corrected drop, or activate it."
    )


def _passed(build: Build) -> Iterator[dict[str, Any]]:
    """What operators let pass, by whom and why."""
    for held in build.report.get("overridden", []):
        why = held.get("why") or build.overrides.get(held.get("step", ""), {}).get(held.get("reason", ""), "")
        yield {**held, "why": why, "looked_again": looks_again(held.get("reason", ""))}
