"""Who did what to what, and when. Append-only: nothing here is ever updated or deleted."""

from __future__ import annotations

from django.db import models


class AuditEvent(models.Model):
    """One event. Names, not foreign keys, so that it outlives what it tells of."""

    at = models.DateTimeField(auto_now_add=True)
    tenant = models.CharField(max_length=63, blank=True)
    service = models.CharField(max_length=63, blank=True)
    actor_kind = models.CharField(max_length=10)
    actor = models.CharField(max_length=150)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    # `<entity>.<action>`, for example `service.rollback`.
    verb = models.CharField(max_length=64)
    target = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-id"], name="audit_tenant_newest"),
            models.Index(fields=["tenant", "service", "-id"], name="audit_service_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor} {self.verb} {self.target}"
