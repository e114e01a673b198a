"""Asking a service, through the gateway."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from api.schema import operation
from api.views.services import HIDDEN, ServiceApiView
from tenants.permissions import Permission
from versions import queries
from versions.queries import shapes

ERRORS = (*HIDDEN, 429, 504)


class ServiceRecallView(ServiceApiView):
    @operation(
        "services_recall",
        "One query, one ranked list",
        tag="queries",
        request={"application/json": shapes.recall_request()},
        response=shapes.recall_response(),
        errors=ERRORS,
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.QUERY)
        return Response(queries.recall(caller=self.caller, service=found, request=self.body))


class ServiceCountView(ServiceApiView):
    @operation(
        "services_count",
        "How many items the live version holds",
        tag="queries",
        response=shapes.count_response(),
        errors=ERRORS,
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.QUERY)
        return Response(queries.count(caller=self.caller, service=found))
