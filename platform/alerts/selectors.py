"""Reading alerts."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.db.models import Case, Exists, F, OuterRef, QuerySet, When, Window
from django.db.models.functions import RowNumber

from alerts.models import Alert
from alerts.states import ALERT_UNRESOLVED, AlertState, Severity
from catalog.models import Service
from tenants.models import Tenant, is_valid_name

GRAVEST_FIRST = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


def alerts_of(tenant: Tenant, *, service: str = "", state: str = "", severity: str = "") -> QuerySet[Alert]:
    """Newest first; of one service, in one state, of one severity, when these are given."""
    alerts = Alert.objects.of(tenant).select_related("service", "tenant").order_by("-number")
    return _narrowed(alerts, service=service, state=state, severity=severity)


def gravest_first(tenants: QuerySet[Tenant]) -> QuerySet[Tenant]:
    """The same tenants, those with something that is wrong now before all others, and by name."""
    wrong = Alert.objects.filter(tenant=OuterRef("pk"), state__in=ALERT_UNRESOLVED)
    return tenants.annotate(has_trouble=Exists(wrong)).order_by("-has_trouble", "name")


def newest_in(
    tenants: Iterable[Tenant],
    *,
    are_over: bool,
    each_max: int,
    service: str = "",
    state: str = "",
    severity: str = "",
) -> QuerySet[Alert]:
    """The newest alerts of each of these tenants, narrowed as in `alerts_of`, with what was sent of them.

    One query however many tenants; whose they may be is the caller's to say.
    """
    alerts = Alert.objects.filter(tenant__in=tenants)
    resolved = {"state": AlertState.RESOLVED}
    alerts = alerts.filter(**resolved) if are_over else alerts.exclude(**resolved)
    place = Window(RowNumber(), partition_by=F("tenant"), order_by=F("number").desc())
    newest = _narrowed(alerts, service=service, state=state, severity=severity).annotate(place=place)
    shown = newest.filter(place__lte=each_max).select_related("service", "tenant")
    return shown.prefetch_related("deliveries").order_by("-number")


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


def unresolved_in(tenants: Iterable[Tenant]) -> QuerySet[Alert]:
    """What is wrong in these tenants and not over, gravest first; whose they may be is the caller's to say."""
    graveness = Case(*(When(severity=severity, then=place) for place, severity in enumerate(GRAVEST_FIRST)))
    alerts = Alert.objects.filter(tenant__in=tenants, state__in=ALERT_UNRESOLVED).select_related("service", "tenant")
    return alerts.order_by(graveness, "-opened_at")


def critical_of(service: Service) -> QuerySet[Alert]:
    """Those of `service` that callers feel and that are not over, newest first."""
    return unresolved_in([service.tenant]).filter(service=service, severity=Severity.CRITICAL)


def in_trouble(services: Collection[int]) -> set[int]:
    """Those of these services (by key) with a critical alert that is not over."""
    critical = Alert.objects.filter(service__in=services, severity=Severity.CRITICAL, state__in=ALERT_UNRESOLVED)
    return set(critical.values_list("service_id", flat=True))


def _narrowed(alerts: QuerySet[Alert], *, service: str, state: str, severity: str) -> QuerySet[Alert]:
    if service:
        # What can be no name is not looked for: PostgreSQL refuses some texts.
        alerts = alerts.filter(service__name=service) if is_valid_name(service) else alerts.none()
    alerts = alerts.filter(severity=severity) if severity else alerts
    return alerts.filter(state=state) if state else alerts
