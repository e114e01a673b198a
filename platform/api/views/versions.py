"""Two versions of a service side by side."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from api.schema import operation
from api.serializers import comparisons as shapes
from api.views.services import HIDDEN, ServiceApiView
from common.checks import whole_number
from common.errors import InvalidArgument
from tenants.permissions import Permission
from versions.actions import comparison_ask
from versions.comparisons import comparison_view, versions_compared
from versions.models import VERSION_NUMBER_MAX

TO = OpenApiParameter(
    "to", int, description="The other version's number; without it the live one, or for that one what was before it."
)


class VersionCompareView(ServiceApiView):
    @operation(
        "versions_compare",
        "What differs between two versions; items and answers are compared by a worker, once: ask until `final`",
        tag="versions",
        response=shapes.ComparisonOut,
        errors=HIDDEN,
        parameters=(TO,),
    )
    def get(self, request: Request, tenant: str, service: str, number: int) -> Response:
        found = self.service(tenant, service, Permission.VIEW)
        version, other = versions_compared(found, number, _number(request.query_params.get("to", "")))
        comparison_ask(version=version, other=other)
        return Response(comparison_view(version, other))


def _number(text: str) -> int | None:
    if not text:
        return None
    number = whole_number(text, most=VERSION_NUMBER_MAX)
    if number is None:
        raise InvalidArgument("The number of a version, for example 6.", field="to")
    return number
