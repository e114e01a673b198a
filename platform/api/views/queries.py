"""Asking a service, through the gateway."""

from __future__ import annotations

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from api import examples
from api.schema import operation
from api.views.services import HIDDEN, ServiceApiView
from catalog.models import Service
from tenants.actions import Use, keys_used
from tenants.permissions import Permission
from versions import queries
from versions.queries import shapes

ERRORS = (*HIDDEN, 429, 504)


class QueryView(ServiceApiView):
    """Base of the views that a service answers: a key that may come here has called the service."""

    def asked(self, tenant: str, service: str) -> Service:
        found = self.service(tenant, service, Permission.QUERY)
        if self.caller.key_prefix:
            caller = self.caller
            use = Use(caller.key_prefix, found.tenant.name, found.name, timezone.now(), caller.actor.address)
            keys_used(uses=[use])
        return found


class ServiceRecallView(QueryView):
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
        found = self.asked(tenant, service)
        return Response(queries.recall(caller=self.caller, service=found, request=self.body))


class ServiceBatchRecallView(QueryView):
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
        found = self.asked(tenant, service)
        return Response(queries.batch_recall(caller=self.caller, service=found, request=self.body))


class ServiceCountView(QueryView):
    @operation(
        "services_count",
        "How many items the live version holds",
        tag="queries",
        response=shapes.count_response(),
        errors=ERRORS,
        examples=examples.COUNT,
    )
    def post(self, request: Request, tenant: str, service: str) -> Response:
        found = self.asked(tenant, service)
        return Response(queries.count(caller=self.caller, service=found))
