"""Asking a service, through the gateway."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from api import examples
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
        examples=examples.RECALL,
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.QUERY)
        return Response(queries.recall(caller=self.caller, service=found, request=self.body))


class ServiceBatchRecallView(ServiceApiView):
    @operation(
        "services_batch_recall",
        "Up to 1,000 queries, a response or an error for each",
        tag="queries",
        request={"application/json": shapes.batch_recall_request()},
        response=shapes.batch_recall_response(),
        errors=ERRORS,
        examples=examples.BATCH_RECALL,
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.QUERY)
        return Response(queries.batch_recall(caller=self.caller, service=found, request=self.body))


class ServiceCountView(ServiceApiView):
    @operation(
        "services_count",
        "How many items the live version holds",
        tag="queries",
        response=shapes.count_response(),
        errors=ERRORS,
        examples=examples.COUNT,
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.service(tenant, service, Permission.QUERY)
        return Response(queries.count(caller=self.caller, service=found))
