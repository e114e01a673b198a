"""Reading services."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet

from catalog.models import Service
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
