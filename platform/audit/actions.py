"""Writing the audit trail."""

from __future__ import annotations

from typing import Any

from audit.models import AuditEvent
from common.actor import Actor


def record(
    *,
    actor: Actor,
    verb: str,
    tenant: str = "",
    service: str = "",
    target: str = "",
    reason: str = "",
    before: Any = None,
    after: Any = None,
) -> AuditEvent:
    """Adds one event, inside the transaction of what it tells of: either both happened or neither."""
    return AuditEvent.objects.create(
        tenant=tenant,
        service=service,
        actor_kind=actor.kind,
        actor=actor.name,
        address=actor.address,
        request_id=actor.request_id,
        verb=verb,
        target=target,
        reason=reason,
        before=before,
        after=after,
    )
