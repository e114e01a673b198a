"""How a program calls a service: key, installation, a first question in its language, and whether it has arrived."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from catalog.models import Service
from console.base import page, service_for
from console.connecting import BY_ITEM, BY_VECTOR, POM, endpoint_of, example_of, installs, is_only_here
from console.snippets import LANGUAGES, snippets_of
from tenants.models import Tenant
from tenants.permissions import Permission, is_allowed
from tenants.selectors import first_use_of, owners_of

LANGUAGE_DEFAULT = "python"


@require_GET
@page
def show(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """`?in=` names the language, `?by=` what the example asks by: the addresses of tabs that need no script."""
    caller, owner, found = service_for(request, tenant, service, Permission.VIEW)
    language = request.GET.get("in", "") if request.GET.get("in") in LANGUAGES else LANGUAGE_DEFAULT
    by = BY_VECTOR if request.GET.get("by") == BY_VECTOR else BY_ITEM
    endpoint, example = endpoint_of(request, found, found.spec["schema"]), example_of(caller, found, by)
    snippets = {snippet.name: snippet for snippet in snippets_of(example.question, endpoint)}
    context = {
        **_status(owner, found),
        "endpoint": endpoint,
        "is_only_here": is_only_here(request, endpoint),
        "is_secure": request.is_secure(),
        "languages": [(name, label) for name, (label, _) in LANGUAGES.items()],
        "language": language,
        "by": by,
        "bys": (BY_ITEM, BY_VECTOR),
        "example": example,
        "snippet": snippets[language],
        "install": installs(request)[language],
        "pom": POM if language == "java" else "",
        "may_manage": is_allowed(caller, Permission.MANAGE, owner),
        "owners": owners_of(owner),
    }
    return render(request, "console/connect.html", context)


@require_GET
@page
def status(request: HttpRequest, tenant: str, service: str) -> HttpResponse:
    """The box that waits for the first call by a key; when there was one it no longer asks."""
    _, owner, found = service_for(request, tenant, service, Permission.VIEW)
    return render(request, "console/_first_call.html", _status(owner, found))


def _status(tenant: Tenant, service: Service) -> dict[str, object]:
    first = first_use_of(tenant, service.name, since=service.created_at)
    return {"tenant": tenant, "service": service, "first_use": first}
