"""Reading services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from catalog.intents import DEFAULT_COLUMNS
from catalog.models import Draft, Service
from catalog.states import DraftState
from engines import registry
from tenants.models import Tenant, is_valid_name
from tenants.permissions import Caller, Permission, require, service_not_found


def services_of(tenant: Tenant, caller: Caller) -> QuerySet[Service]:
    """The tenant's services by name; for a key of one service that one only. Raises as `require` does."""
    require(caller, Permission.VIEW, tenant, caller.key_service)
    services = living_services_of(tenant)
    return services.filter(name=caller.key_service) if caller.key_service else services


def living_services_of(tenant: Tenant) -> QuerySet[Service]:
    """Every service of the tenant that is not deleted, whoever asks."""
    return Service.objects.of(tenant).filter(deleted_at__isnull=True).select_related("tenant").order_by("name")


def services_in(tenants: Iterable[Tenant]) -> QuerySet[Service]:
    """Every service of these tenants by tenant and name; whose they may be is the caller's to say."""
    living = Service.objects.filter(tenant__in=tenants, deleted_at__isnull=True)
    return living.select_related("tenant").order_by("tenant__name", "name")


def service_get(tenant: Tenant, name: str) -> Service:
    """Raises NotFound with the same words for an unknown service and for another tenant's."""
    service = living_services_of(tenant).filter(name=name).first() if is_valid_name(name) else None
    if service is None:
        raise service_not_found()
    return service


def engine_choices() -> list[tuple[str, str]]:
    """(name, what it says of itself) of every engine but `auto`, for a form."""
    return [(name, f"{name}: {registry.describe(name).summary}") for name in registry.names()]


def drafts_of(tenant: Tenant) -> QuerySet[Draft]:
    """The drafts that somebody may go on with, the last changed one first."""
    return Draft.objects.of(tenant).filter(service="", expires_at__gte=Now()).order_by("-changed_at")


def draft_get(tenant: Tenant, token: str) -> Draft:
    """Also one that has become a service. Raises NotFound with the same words for unknown and another tenant's."""
    return Draft.objects.select_related("tenant").of_or_404(tenant, token=token if token.isprintable() else "")


def drafts_waiting(asked_before: Any) -> QuerySet[Draft]:
    """Those whose question nobody is at: asked before that time, or left by a worker that is gone."""
    asked = Q(state=DraftState.ASKED, asked_at__lt=asked_before)
    left = Q(state=DraftState.READING, taken_until__lt=Now())
    return Draft.objects.filter(asked | left).order_by("asked_at")


def decided_by(spec: Mapping[str, Any]) -> dict[str, Any]:
    """By what a sample is judged, out of a draft's spec: fields of catalog.sources.Decided."""
    source = spec["source"]
    columns = {**DEFAULT_COLUMNS, **source.get("columns", {})}
    return {"schema": spec["schema"], "columns": columns, "files": source.get("files")}
