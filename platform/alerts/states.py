"""The state machines, as tables. A `state` column changes only through common.transitions.move.

Alert     OPEN -> ACKNOWLEDGED -> RESOLVED, or OPEN -> RESOLVED. What happens again after that is a new alert.
Delivery  PENDING -> SENT, or PENDING -> FAILED after the last attempt.
"""

from __future__ import annotations

from django.db import models


class AlertState(models.TextChoices):
    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class Severity(models.TextChoices):
    """`info`: worth knowing. `warning`: somebody should look today. `critical`: users are or soon will be affected."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertEvent(models.TextChoices):
    OPENED = "opened"
    RESOLVED = "resolved"


class Channel(models.TextChoices):
    WEBHOOK = "webhook"
    EMAIL = "email"


class DeliveryState(models.TextChoices):
    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"


ALERT = {
    "OPEN": frozenset({"ACKNOWLEDGED", "RESOLVED"}),
    "ACKNOWLEDGED": frozenset({"RESOLVED"}),
    "RESOLVED": frozenset(),
}
ALERT_UNRESOLVED = frozenset({"OPEN", "ACKNOWLEDGED"})

DELIVERY = {
    "PENDING": frozenset({"SENT", "FAILED"}),
    "SENT": frozenset(),
    "FAILED": frozenset(),
}
