"""Reading alerts."""

from __future__ import annotations

from django.db.models import QuerySet

from alerts.models import Alert
from alerts.states import ALERT_UNRESOLVED, AlertState
from catalog.models import Service
from tenants.models import Tenant, is_valid_name


def alerts_of(tenant: Tenant, *, service: str = "", state: str = "") -> QuerySet[Alert]:
    """Newest first; of one service, or in one state, when these are given."""
    alerts = Alert.objects.of(tenant).select_related("service", "tenant").order_by("-number")
    if service:
        # What can be no name is not looked for: PostgreSQL refuses some texts.
        alerts = alerts.filter(service__name=service) if is_valid_name(service) else alerts.none()
    return alerts.filter(state=state) if state else alerts


def alert_get(tenant: Tenant, number: int) -> Alert:
    """Raises NotFound (ALERT_NOT_FOUND) with the same words for an unknown alert and for another tenant's."""
    return Alert.objects.select_related("service", "tenant").of_or_404(tenant, number=number)


def unresolved(service: Service, reason: str, subject: str = "") -> QuerySet[Alert]:
    """The one alert of this kind that is not over yet, or none."""
    alerts = Alert.objects.filter(service=service, state__in=ALERT_UNRESOLVED)
    return alerts.filter(reason=reason, subject=subject)


def unresolved_of(reason: str) -> QuerySet[Alert]:
    """All of this reason that are not over yet, whosever they are; for the platform itself."""
    return Alert.objects.filter(reason=reason, state__in=ALERT_UNRESOLVED).select_related("service").order_by("pk")


def unresolved_subjects(service: Service) -> set[str]:
    """What something is wrong with."""
    alerts = Alert.objects.filter(service=service, state__in=ALERT_UNRESOLVED)
    return set(alerts.values_list("subject", flat=True))


def open_count(tenants: QuerySet[Tenant]) -> int:
    """Alerts of these tenants that nobody looks after; whose they may be is the caller's to say."""
    return Alert.objects.filter(tenant__in=tenants, state=AlertState.OPEN).count()
