"""Everything that writes alerts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from alerts.models import Alert, TenantAlerts
from alerts.selectors import unresolved
from alerts.states import ALERT, ALERT_UNRESOLVED, AlertState, Severity
from audit.actions import record
from catalog.models import Service
from common.actor import Actor
from common.errors import Conflict, StateConflict
from common.transitions import move

log = logging.getLogger(__name__)

MESSAGE_CHARACTERS_MAX = 4_000
# Between finding no unresolved alert and making one, another raiser makes it, or it is resolved; thrice is bad luck.
RAISE_TRIES_MAX = 5


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


@transaction.atomic
def alerts_resolve(*, service: Service, subject: str) -> None:
    """Resolves every alert about `subject`, whatever its reason."""
    for alert in Alert.objects.of(service.tenant).filter(service=service, subject=subject, state__in=ALERT_UNRESOLVED):
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


def _open(service: Service, reason: str, subject: str, said: Mapping[str, Any]) -> Alert:
    """Raises IntegrityError when somebody else opened it first."""
    number = _next_number(service)
    return Alert.objects.create(
        tenant_id=service.tenant_id, service=service, number=number, reason=reason, subject=subject, **said
    )


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
