"""Reading the audit trail, and finding out whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from audit.chain import GENESIS, digest_of
from audit.models import AuditEvent, AuditHead

EVENTS_PAGE_DEFAULT = 50
EVENTS_PAGE_MAX = 200
EVENTS_EXPORTED_MAX = 100_000
VERIFIED_AT_ONCE = 1_000


@dataclass(frozen=True)
class Fault:
    """The first event at which the chain does not hold. `event` is None when events are missing from its end."""

    position: int
    event: AuditEvent | None
    message: str


@dataclass(frozen=True)
class Verification:
    """`head` is the digest of the last event that holds; noted elsewhere, it proves that none was cut off since."""

    events: int
    head: str
    fault: Fault | None


def events_of(
    tenant: str,
    service: str | None = None,
    before_id: int | None = None,
    limit: int = EVENTS_PAGE_DEFAULT,
    *,
    actor: str = "",
    verb: str = "",
) -> list[AuditEvent]:
    """Events of the tenant of this name, newest first, at most EVENTS_PAGE_MAX.

    The next page starts before the last one: `before_id=events[-1].pk`. `actor` is a whole name, `verb` one such as
    `service.rollback` or what it begins with, such as `service`.
    """
    events = _matching(tenant, service, actor=actor, verb=verb)
    if before_id is not None:
        events = events.filter(pk__lt=before_id)
    return list(events[: max(1, min(limit, EVENTS_PAGE_MAX))])


def events_exported(
    tenant: str, service: str | None = None, *, actor: str = "", verb: str = ""
) -> Iterator[AuditEvent]:
    """As `events_of`, up to EVENTS_EXPORTED_MAX and few at a time in memory."""
    events = _matching(tenant, service, actor=actor, verb=verb)
    return events[:EVENTS_EXPORTED_MAX].iterator(chunk_size=VERIFIED_AT_ONCE)


def _matching(tenant: str, service: str | None, *, actor: str, verb: str) -> QuerySet[AuditEvent]:
    events = AuditEvent.objects.filter(tenant=tenant).order_by("-pk")
    if service is not None:
        events = events.filter(service=service)
    if actor:
        events = events.filter(actor=actor)
    return events.filter(Q(verb=verb) | Q(verb__startswith=f"{verb}.")) if verb else events


def verify() -> Verification:
    """Walks the whole chain, at most VERIFIED_AT_ONCE events in memory, and says where it first does not hold."""
    head = AuditHead.objects.first()
    end, end_digest = (head.position, head.digest) if head else (0, GENESIS)
    position, digest = 0, GENESIS
    for event in _events_up_to(end):
        fault = _fault_of(event, position + 1, digest)
        if fault is not None:
            return Verification(position, digest, fault)
        position, digest = event.position, event.digest
    return Verification(position, digest, _fault_at_the_end(position, digest, end, end_digest))


def _events_up_to(end: int) -> Iterator[AuditEvent]:
    return AuditEvent.objects.filter(position__lte=end).order_by("position").iterator(chunk_size=VERIFIED_AT_ONCE)


def _fault_of(event: AuditEvent, position: int, previous: str) -> Fault | None:
    named = f"Event {event.position} ({event.at:%Y-%m-%d %H:%M:%S} UTC, {event.verb} by {event.actor})"
    if event.position != position:
        gone = event.position - position
        what = f"event {position} was" if gone == 1 else f"events {position} to {event.position - 1} were"
        return Fault(position, event, f"{named} does not follow the one before it: {what} removed.")
    if event.previous != previous:
        return Fault(position, event, f"{named} does not follow the one before it: it was put in, or one was replaced.")
    if digest_of(event, position=position, previous=previous) != event.digest:
        return Fault(position, event, f"{named} was changed, or was not written by the platform.")
    return None


def _fault_at_the_end(position: int, digest: str, end: int, end_digest: str) -> Fault | None:
    if position != end:
        return Fault(position + 1, None, f"Events {position + 1} to {end} were removed from the end.")
    if digest != end_digest:
        return Fault(position, None, "The head of the chain does not carry the last event's digest: one was replaced.")
    return _fault_beyond()


def _fault_beyond() -> Fault | None:
    """What stands behind the head was put there by somebody else. One query, because the platform goes on writing."""
    end = Coalesce(Subquery(AuditHead.objects.values("position")[:1]), 0)
    event = AuditEvent.objects.filter(position__gt=end).order_by("position").first()
    if event is None:
        return None
    message = f"Event {event.position} ({event.verb} by {event.actor}) was put in behind the end of the chain."
    return Fault(event.position, event, message)
