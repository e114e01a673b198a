"""Looking back at what was asked of a service, and ahead at what a spec would mean."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from api.base import ApiView
from api.schema import operation
from api.serializers import outlooks as shapes
from api.views.services import HIDDEN, ServiceApiView
from common.checks import whole_number
from common.errors import InvalidArgument
from tenants.permissions import Permission
from versions.previews import preview
from versions.traffic import HOURS_MAX, POINTS_MAX, SPANS_MAX, metrics_of


class MetricsView(ServiceApiView):
    @operation(
        "services_metrics",
        "What was asked of a service over the last hours: rate, latency, errors by code, memory",
        tag="services",
        response=shapes.MetricsOut,
        errors=HIDDEN,
        parameters=(
            OpenApiParameter("hours", int, description=f"How far back, 1 to {HOURS_MAX}; {HOURS_MAX} when absent."),
            OpenApiParameter(
                "points",
                int,
                description=f"At most so many points, 1 to {SPANS_MAX:,}, which of {HOURS_MAX} hours is one for "
                f"each span that is kept; {POINTS_MAX} when absent.",
            ),
        ),
    )
    def get(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.VIEW)
        hours = _number(request, "hours", HOURS_MAX, HOURS_MAX)
        points = _number(request, "points", POINTS_MAX, SPANS_MAX)
        return Response(metrics_of(found, hours=hours, points_max=points))


class EstimateView(ApiView):
    @operation(
        "services_estimate",
        "What a spec would mean: engine, memory and quota; nothing is registered",
        tag="services",
        request=shapes.EstimateIn,
        response=shapes.EstimateOut,
        errors=HIDDEN,
    )
    def post(self, request: Request, tenant: str) -> Response:
        # As for sources:inspect, because the source is looked into.
        found = self.tenant(tenant, Permission.BUILD)
        told = preview(tenant=found, **self.input(shapes.EstimateIn))
        estimate = told.estimate.to_dict() if told.estimate else None
        fits = all(share["fits"] for share in estimate["shares"]) if estimate else None
        return Response({**told._asdict(), "estimate": estimate, "fits": fits})


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name) or str(default)
    number = whole_number(text, most=most)
    if not number:
        raise InvalidArgument(f"`{name}` is a whole number from 1 to {most:,}.", field=name)
    return number
