"""What is wrong is said once, looked after, and is over; what it is told to whom by waits in `deliveries`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from alerts.actions.deliveries import deliveries_queue
from alerts.models import Alert, TenantAlerts
from alerts.selectors import unresolved
from alerts.states import ALERT, ALERT_UNRESOLVED, AlertEvent, AlertState, Severity
from audit.actions import record
from catalog.models import Service
from common.actor import Actor
from common.errors import Conflict, StateConflict
from common.transitions import move
from tenants.models import Tenant

log = logging.getLogger(__name__)

MESSAGE_CHARACTERS_MAX = 4_000
# Between finding no unresolved alert and making one, another raiser makes it, or it is resolved; thrice is bad luck.
RAISE_TRIES_MAX = 5
# How long receivers have to learn a new secret.
SECRET_OVERLAP_HOURS = 24


@transaction.atomic
def alert_raise(
    *,
    service: Service,
    reason: str,
    subject: str = "",
    message: str,
    severity: str = Severity.WARNING,
    evidence: Mapping[str, Any] | None = None,
) -> Alert:
    """Says that something is wrong; the answer is the one unresolved alert of (service, reason, subject).

    Raising again updates message, severity, evidence, `seen_at` and `count`, and tells nobody again. `reason` is a
    stable id such as `drop.late`, `severity` is info, warning or critical.
    Raises ValueError for another severity, Conflict when others kept resolving it at this very moment.
    """
    said = {
        "severity": Severity(severity),
        "message": message[:MESSAGE_CHARACTERS_MAX],
        "evidence": dict(evidence or {}),
    }
    for _ in range(RAISE_TRIES_MAX):
        found = unresolved(service, reason, subject)
        if found.update(**said, seen_at=Now(), count=F("count") + 1):
            return found.select_related("service__tenant").get()
        try:
            with transaction.atomic():
                return _open(service, reason, subject, said)
        except IntegrityError:
            log.info("Somebody else raised %s of %s at this moment.", reason, service)
    raise Conflict(f"The alert {reason} of {service} is being raised and resolved at this moment.")


@transaction.atomic
def alert_resolve(*, service: Service, reason: str, subject: str = "") -> None:
    """Says that it is over. Without such an alert nothing happens."""
    for alert in unresolved(service, reason, subject):
        _resolve(alert)


def alert_reword(*, alert: Alert, severity: str, message: str) -> None:
    """Says the same of things that have changed around it: it does not count as happening again, and nobody is told.

    One that is over meanwhile stays over. Raises ValueError for another severity than alert_raise knows.
    """
    said = {"severity": Severity(severity), "message": message[:MESSAGE_CHARACTERS_MAX]}
    if (alert.severity, alert.message) != (said["severity"], said["message"]):
        Alert.objects.filter(pk=alert.pk, state__in=ALERT_UNRESOLVED).update(**said)


@transaction.atomic
def alerts_resolve(*, service: Service, subjects: Sequence[str] | None = None) -> None:
    """Resolves every alert about `subjects`, whatever its reason; all of the service's when these are not given."""
    alerts = Alert.objects.filter(service=service, state__in=ALERT_UNRESOLVED).order_by("pk")
    for alert in alerts if subjects is None else alerts.filter(subject__in=subjects):
        _resolve(alert)


@transaction.atomic
def alert_acknowledge(*, actor: Actor, alert: Alert) -> Alert:
    """Says that somebody is looking after it; acknowledging again changes nothing.

    Raises StateConflict when it is resolved.
    """
    try:
        alert = move(alert, ALERT, AlertState.ACKNOWLEDGED, acknowledged_by=actor.name, acknowledged_at=Now())
    except StateConflict as error:
        alert.refresh_from_db()
        if alert.state == AlertState.ACKNOWLEDGED:
            return alert
        raise StateConflict(f"Alert {alert.number} is resolved already.", reason="ALERT_RESOLVED") from error
    record(
        actor=actor,
        verb="alert.acknowledge",
        tenant=alert.tenant.name,
        service=alert.service.name,
        target=f"alert {alert.number}",
        after={"reason": alert.reason, "subject": alert.subject},
    )
    return alert


@transaction.atomic
def webhook_secret_rotate(*, actor: Actor, tenant: Tenant) -> TenantAlerts:
    """From now on webhooks are signed with a new secret, and for SECRET_OVERLAP_HOURS with the present one too."""
    TenantAlerts.objects.get_or_create(tenant=tenant)
    book = TenantAlerts.objects.of(tenant)
    until = timezone.now() + timedelta(hours=SECRET_OVERLAP_HOURS)
    book.update(secret_generation=F("secret_generation") + 1, secret_before_until=until)
    changed = book.get()
    record(
        actor=actor,
        verb="webhook_secret.rotate",
        tenant=tenant.name,
        target=tenant.name,
        after={"generation": changed.secret_generation},
    )
    return changed


def _open(service: Service, reason: str, subject: str, said: Mapping[str, Any]) -> Alert:
    """Raises IntegrityError when somebody else opened it first."""
    number = _next_number(service)
    alert = Alert.objects.create(
        tenant_id=service.tenant_id, service=service, number=number, reason=reason, subject=subject, **said
    )
    deliveries_queue(alert, AlertEvent.OPENED)
    return alert


def _next_number(service: Service) -> int:
    TenantAlerts.objects.get_or_create(tenant_id=service.tenant_id)
    book = TenantAlerts.objects.filter(tenant_id=service.tenant_id)
    book.update(alerts_count=F("alerts_count") + 1)
    return book.values_list("alerts_count", flat=True).get()


def _resolve(alert: Alert) -> None:
    try:
        move(alert, ALERT, AlertState.RESOLVED, resolved_at=Now())
    except StateConflict:
        log.info("%s is resolved already.", alert)
        return
    deliveries_queue(alert, AlertEvent.RESOLVED)
