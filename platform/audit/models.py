"""Who did what to what, and when. Append-only and chained: nothing here is ever updated or deleted."""

from __future__ import annotations

from typing import Any, Never

from django.db import models
from django.utils import timezone


class AppendOnly(RuntimeError):
    """Somebody tried to change or delete what must stay."""

    def __init__(self) -> None:
        super().__init__("Audit events are append-only. Record another event that sets it right.")


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Reads, and appends by audit.actions.record alone."""

    def update(self, **_values: Any) -> Never:
        raise AppendOnly

    def delete(self) -> Never:
        raise AppendOnly

    def bulk_update(self, *_arguments: Any, **_options: Any) -> Never:
        raise AppendOnly

    def bulk_create(self, *_arguments: Any, **_options: Any) -> Never:
        raise AppendOnly


class AuditEvent(models.Model):
    """One event. Names, not foreign keys, so that it outlives what it tells of."""

    at = models.DateTimeField(default=timezone.now, editable=False)
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
    # Its place in the chain, without gaps; the digest of the event before it, and its own over all of this.
    position = models.PositiveBigIntegerField(unique=True, editable=False)
    previous = models.CharField(max_length=64, editable=False)
    digest = models.CharField(max_length=64, editable=False)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-id"], name="audit_tenant_newest"),
            models.Index(fields=["tenant", "service", "-id"], name="audit_service_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor} {self.verb} {self.target}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly
        super().save(*args, **kwargs)

    def delete(self, *_arguments: Any, **_options: Any) -> Never:
        raise AppendOnly


class AuditHead(models.Model):
    """One row: where the chain ends. Its lock makes appends wait for one another, and it tells of a cut-off end."""

    position = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.position}:{self.digest}"
