"""Writing the audit trail."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F

from audit.chain import GENESIS, digest_of
from audit.models import AuditEvent, AuditHead
from common.actor import Actor

HEAD = 1


@transaction.atomic
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
    """Adds one event, inside the transaction of what it tells of: either both happened or neither.

    From here to the end of the transaction every other append waits. So this comes last in it: whoever takes another
    row's lock after this may wait for somebody who waits for the chain.
    """
    event = AuditEvent(
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
    event.position, event.previous = _take_place()
    event.digest = digest_of(event, position=event.position, previous=event.previous)
    event.save()
    AuditHead.objects.filter(pk=HEAD).update(digest=event.digest)
    return event


def _take_place() -> tuple[int, str]:
    """The next position and the digest before it. The UPDATE holds the row, on SQLite and PostgreSQL alike."""
    head = AuditHead.objects.filter(pk=HEAD)
    if not head.update(position=F("position") + 1):
        last = AuditEvent.objects.order_by("position").last()
        start = {"position": last.position, "digest": last.digest} if last else {"position": 0, "digest": GENESIS}
        AuditHead.objects.get_or_create(pk=HEAD, defaults=start)
        head.update(position=F("position") + 1)
    return head.values_list("position", "digest").get()
