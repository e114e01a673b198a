"""The rows that say who is to be told of what: queued with the alert, claimed by a sender, retried, given up.

Rows only; `alerts.sending` speaks with the outside, between these transactions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from alerts.models import ERROR_CHARACTERS_MAX, Alert, Delivery
from alerts.states import DELIVERY, AlertEvent, Channel, DeliveryState
from catalog.models import Service
from common.errors import StateConflict
from common.transitions import move

log = logging.getLogger(__name__)

# Messages of one tenant that wait; beyond that a new one is given up at once, and says so.
PENDING_PER_TENANT_MAX = 1_000
# A sender that has not said what came of it for so long is taken for dead.
CLAIM_SECONDS = 60
# 10 attempts over about four hours.
ATTEMPTS_MAX = 10
BACKOFF_SECONDS_MIN = 10
BACKOFF_SECONDS_MAX = 3_600
BACKOFF_FACTOR = 3

FULL = f"More than {PENDING_PER_TENANT_MAX:,} messages of this tenant wait already."
SENDER_DIED = "Whoever sent it did not say what came of it."


def deliveries_queue(alert: Alert, event: AlertEvent) -> None:
    """Notes who is to be told, in the transaction of the alert; the next tick sends it."""
    notify: Mapping[str, Any] = Service.objects.values_list("spec__notify", flat=True).get(pk=alert.service_id) or {}
    targets = {Channel.WEBHOOK: notify.get("webhook") or "", Channel.EMAIL: ",".join(notify.get("email") or ())}
    wanted = {channel: target for channel, target in targets.items() if target}
    if not wanted:
        return
    waiting = Delivery.objects.filter(alert__tenant=alert.tenant_id, state=DeliveryState.PENDING).count()
    refused: dict[str, Any] = {"state": DeliveryState.FAILED, "error": FULL}
    for channel, target in wanted.items():
        more = refused if waiting >= PENDING_PER_TENANT_MAX else {}
        Delivery.objects.create(alert=alert, event=event, channel=channel, target=target, **more)


def deliveries_claim(count: int) -> list[Delivery]:
    """At most `count` messages that are due, each of which nobody else gets within CLAIM_SECONDS."""
    claimed = []
    for found in _due().order_by("due_at", "pk")[:count]:
        mine = Delivery.objects.filter(
            pk=found.pk, state=DeliveryState.PENDING, attempts=found.attempts, due_at__lte=Now()
        )
        if mine.update(attempts=F("attempts") + 1, due_at=Now() + timedelta(seconds=CLAIM_SECONDS)):
            claimed.append(Delivery.objects.select_related("alert__service", "alert__tenant").get(pk=found.pk))
    return claimed


@transaction.atomic
def delivery_sent(delivery: Delivery) -> None:
    """The other side has it. Nothing happens when another sender has taken it over meanwhile."""
    _settle(delivery, DeliveryState.SENT, sent_at=Now(), error="")


@transaction.atomic
def delivery_failed(delivery: Delivery, error: str) -> None:
    """Tries again later, and after ATTEMPTS_MAX attempts no more."""
    error = error[:ERROR_CHARACTERS_MAX]
    log.warning("%s: attempt %s failed: %s", delivery, delivery.attempts, error)
    if delivery.attempts >= ATTEMPTS_MAX:
        _settle(delivery, DeliveryState.FAILED, error=error)
        return
    later = Now() + timedelta(seconds=backoff_seconds(delivery.attempts))
    mine = Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.PENDING, attempts=delivery.attempts)
    mine.update(due_at=later, error=error)


def deliveries_give_up() -> None:
    """Ends those whose last sender died."""
    lost = Delivery.objects.filter(state=DeliveryState.PENDING, attempts__gte=ATTEMPTS_MAX, due_at__lte=Now())
    for delivery in lost.order_by("pk")[:PENDING_PER_TENANT_MAX]:
        _settle(delivery, DeliveryState.FAILED, error=delivery.error or SENDER_DIED)


def backoff_seconds(attempts: int) -> int:
    """How long to wait after so many attempts."""
    return int(min(BACKOFF_SECONDS_MIN * BACKOFF_FACTOR ** (attempts - 1), BACKOFF_SECONDS_MAX))


def _due() -> QuerySet[Delivery]:
    """What is over is told after what began, to each channel."""
    opening = Delivery.objects.filter(
        alert=OuterRef("alert"), channel=OuterRef("channel"), event=AlertEvent.OPENED, state=DeliveryState.PENDING
    )
    due = Delivery.objects.filter(state=DeliveryState.PENDING, attempts__lt=ATTEMPTS_MAX, due_at__lte=Now())
    return due.filter(Q(event=AlertEvent.OPENED) | ~Exists(opening))


def _settle(delivery: Delivery, state: DeliveryState, **values: Any) -> None:
    try:
        move(delivery, DELIVERY, state, where={"attempts": delivery.attempts}, **values)
    except StateConflict as error:
        log.info("%s", error.message)
