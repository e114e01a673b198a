"""Reading the audit trail."""

from __future__ import annotations

from audit.models import AuditEvent

EVENTS_PAGE_DEFAULT = 50
EVENTS_PAGE_MAX = 200


def events_of(
    tenant: str, service: str | None = None, before_id: int | None = None, limit: int = EVENTS_PAGE_DEFAULT
) -> list[AuditEvent]:
    """Events of the tenant of this name, newest first, at most EVENTS_PAGE_MAX.

    The next page starts before the last one: `before_id=events[-1].pk`.
    """
    events = AuditEvent.objects.filter(tenant=tenant).order_by("-pk")
    if service is not None:
        events = events.filter(service=service)
    if before_id is not None:
        events = events.filter(pk__lt=before_id)
    return list(events[: max(1, min(limit, EVENTS_PAGE_MAX))])
