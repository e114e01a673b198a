"""What is wrong with a service, and who was told of it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from alerts import states
from catalog.models import Service
from tenants.models import Tenant
from tenants.scoping import TenantScoped

REASON_CHARACTERS_MAX = 100
SUBJECT_CHARACTERS_MAX = 200
ERROR_CHARACTERS_MAX = 500


class Alert(TenantScoped):
    """One thing that is wrong, from when it was first seen until it is over. Numbered for each tenant.

    At most one unresolved alert for each (service, reason, subject): what happens again while it is unresolved counts
    up, what happens again later is a new row.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="alerts")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="alerts")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=states.AlertState.choices, default=states.AlertState.OPEN)
    severity = models.CharField(max_length=8, choices=states.Severity.choices, default=states.Severity.WARNING)
    # A stable id such as `drop.late`; what it is about, such as `build 12`, may be empty.
    reason = models.CharField(max_length=REASON_CHARACTERS_MAX)
    subject = models.CharField(max_length=SUBJECT_CHARACTERS_MAX, blank=True)
    message = models.TextField()
    evidence = models.JSONField(default=dict)
    opened_at = models.DateTimeField(auto_now_add=True)
    # When it happened last, and how often it did.
    seen_at = models.DateTimeField(auto_now_add=True)
    count = models.PositiveIntegerField(default=1)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "number"], name="alert_number_once_per_tenant"),
            models.UniqueConstraint(
                fields=["service", "reason", "subject"],
                condition=~Q(state=states.AlertState.RESOLVED),
                name="alert_unresolved_once",
            ),
        ]
        indexes = [models.Index(fields=["tenant", "state"], name="alert_by_state")]

    def __str__(self) -> str:
        return f"{self.service} alert {self.number}: {self.reason}"


class Delivery(TenantScoped):
    """One message to one channel about one alert: the row is the queue.

    Whoever sends it raises `attempts` and moves `due_at` on, so that nobody else does and a sender that died is
    followed by the next; what came of it is written under the same `attempts`.
    """

    tenant_path = "alert__tenant"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=10, choices=states.AlertEvent.choices)
    channel = models.CharField(max_length=10, choices=states.Channel.choices)
    # A URL, or addresses with commas, as the spec named them when it happened.
    target = models.TextField()
    state = models.CharField(max_length=8, choices=states.DeliveryState.choices, default=states.DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    # What the last attempt met.
    error = models.CharField(max_length=ERROR_CHARACTERS_MAX, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["alert", "event", "channel"], name="delivery_once_per_channel")]
        indexes = [models.Index(fields=["state", "due_at"], name="delivery_due")]

    def __str__(self) -> str:
        return f"{self.event} of {self.alert} by {self.channel}"


class TenantAlerts(TenantScoped):
    """One row for each tenant that ever had an alert or asked for its webhook secret.

    Numbers are given out here. The secret itself stands nowhere: it is derived from the platform's own and from
    `secret_generation`; the one before it signs too until `secret_before_until`.
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.PROTECT, related_name="alert_book")
    alerts_count = models.PositiveIntegerField(default=0)
    secret_generation = models.PositiveIntegerField(default=1)
    secret_before_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"alerts of {self.tenant}"
