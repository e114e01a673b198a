"""Alerts of a tenant, and the secret that signs its webhooks."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from alerts import actions, selectors
from alerts.signing import secrets_of
from alerts.states import AlertState, Severity
from alerts.views import alert_view
from api.base import ApiView
from api.pagination import NEWEST_NUMBER_FIRST, paginate
from api.schema import PAGING, operation
from api.serializers import alerts as shapes
from api.views.services import HIDDEN
from common.errors import InvalidArgument
from tenants.models import Tenant
from tenants.permissions import Permission

CHOICES = {"state": AlertState.values, "severity": Severity.values}
FILTERS = (
    OpenApiParameter("state", str, enum=AlertState.values, description="Only those in this state."),
    OpenApiParameter("severity", str, enum=Severity.values, description="Only those of this severity."),
    OpenApiParameter("service", str, description="Only those of the service of this name."),
)


class AlertsView(ApiView):
    @operation(
        "alerts_list",
        "What is or was wrong, newest first",
        tag="alerts",
        response=shapes.AlertPage,
        errors=HIDDEN,
        parameters=(*FILTERS, *PAGING),
    )
    def get(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.VIEW)
        wanted = {name: request.query_params.get(name, "") for name in ("service", "state", "severity")}
        for name, known in CHOICES.items():
            if wanted[name] and wanted[name] not in known:
                raise InvalidArgument(f"The {name} is one of {', '.join(known)}.", field=name)
        rows = selectors.alerts_of(found, **wanted).prefetch_related("deliveries")
        return Response(paginate(request, rows, order=NEWEST_NUMBER_FIRST, name="alerts", render=alert_view))


class AlertAcknowledgeView(ApiView):
    @operation(
        "alerts_acknowledge",
        "Say that somebody looks after it",
        tag="alerts",
        response=shapes.AlertOut,
        errors=(*HIDDEN, 409),
    )
    def post(self, request: Request, tenant: str, number: int) -> Response:
        alert = selectors.alert_get(self.tenant(tenant, Permission.OPERATE), number)
        return Response(alert_view(actions.alert_acknowledge(actor=self.caller.actor, alert=alert)))


class WebhookSecretView(ApiView):
    @operation(
        "webhook_secret_get",
        "The secret that signs a tenant's webhooks",
        tag="alerts",
        response=shapes.WebhookSecretOut,
        errors=HIDDEN,
    )
    def get(self, request: Request, tenant: str) -> Response:
        return _secrets(self.tenant(tenant, Permission.MANAGE))


class WebhookSecretRotateView(ApiView):
    @operation(
        "webhook_secret_rotate",
        "Sign with a new secret; the present one signs too for a day",
        tag="alerts",
        response=shapes.WebhookSecretOut,
        errors=HIDDEN,
    )
    def post(self, request: Request, tenant: str) -> Response:
        found = self.tenant(tenant, Permission.MANAGE)
        actions.webhook_secret_rotate(actor=self.caller.actor, tenant=found)
        return _secrets(found)


def _secrets(tenant: Tenant) -> Response:
    secret, before, until = secrets_of(tenant)
    return Response({"secret": secret, "before": before, "before_until": until})
