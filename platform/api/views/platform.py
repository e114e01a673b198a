"""What belongs to no single service: health, discovery, sources, the audit trail, and paths that do not exist."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from api.base import ApiView
from api.pagination import NEWEST_ROW_FIRST, paginate_by, shown_as
from api.schema import PAGING, operation
from api.serializers import platform as shapes
from api.views.services import HIDDEN, ServiceApiView
from audit.models import AuditEvent
from audit.selectors import events_of
from catalog.sources import source_inspect
from tenants.permissions import Permission
from versions.health import DOWN, platform_health
from versions.queries import resource_name


class HealthView(ApiView):
    """Open to anybody, for load balancers and probes."""

    authentication_classes = []
    permission_classes = []

    @operation("health", "Is the platform well?", tag="platform", response=shapes.HealthOut, public=True)
    def get(self, request: Request) -> Response:
        health = platform_health()
        return Response(health, status=503 if health["status"] == DOWN else 200)


class DiscoveryView(ServiceApiView):
    @operation(
        "discovery", "Where gRPC clients find a service", tag="queries", response=shapes.DiscoveryOut, errors=HIDDEN
    )
    def get(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.VIEW)
        return Response({"service": resource_name(found), "gateway": settings.GATEWAY_ADDRESS})


class SourceInspectView(ApiView):
    @operation(
        "sources_inspect",
        "What a drop holds, and the schema it suggests",
        tag="services",
        request=shapes.SourceInspect,
        response=shapes.SourceOut,
        errors=(*HIDDEN, 504),
    )
    def post(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.BUILD)
        return Response(source_inspect(tenant=found, **self.input(shapes.SourceInspect)))


class TenantAuditView(ApiView):
    @operation(
        "audit_list",
        "Who did what in a tenant, newest first",
        tag="platform",
        response=shapes.AuditPage,
        errors=HIDDEN,
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.VIEW)
        return Response(_events(request, found.name))


class ServiceAuditView(ServiceApiView):
    @operation(
        "services_audit_list",
        "Who did what to a service, newest first",
        tag="services",
        response=shapes.AuditPage,
        errors=HIDDEN,
        parameters=PAGING,
    )
    def get(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.VIEW)
        return Response(_events(request, found.tenant.name, found.name))


class MissingView(ApiView):
    """Every other path, so that a misspelt one gets the API's error and not a page."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound(f"There is no {request.method} {request.path}. The paths stand in /api/v1/schema.")


def _events(request: Request, tenant: str, service: str | None = None) -> dict[str, Any]:
    def fetch(after: int | None, limit: int) -> list[AuditEvent]:
        return events_of(tenant, service, before_id=after, limit=limit)

    render = shown_as(shapes.AuditEventOut)
    return paginate_by(request, fetch, order=NEWEST_ROW_FIRST, name="events", render=render)
