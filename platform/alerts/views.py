"""Rows as JSON; REST, the CLI, the console and webhooks all show these. Times are datetimes."""

from __future__ import annotations

from typing import Any

from alerts.models import Alert, Delivery


def alert_view(alert: Alert) -> dict[str, Any]:
    """An alert, and whether those who are to hear of it have."""
    return {**alert_told(alert), "deliveries": [delivery_view(each) for each in alert.deliveries.all()]}


def alert_told(alert: Alert) -> dict[str, Any]:
    """What an alert says, to the outside too."""
    return {
        "number": alert.number,
        "service": alert.service.name,
        "state": alert.state,
        "severity": alert.severity,
        "reason": alert.reason,
        "subject": alert.subject,
        "message": alert.message,
        "evidence": alert.evidence,
        "opened_at": alert.opened_at,
        "seen_at": alert.seen_at,
        "count": alert.count,
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_at": alert.acknowledged_at,
        "resolved_at": alert.resolved_at,
    }


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """Without its target: the path of a webhook may be a secret of its own."""
    return {
        "event": delivery.event,
        "channel": delivery.channel,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "sent_at": delivery.sent_at,
    }
