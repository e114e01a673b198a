"""Telling people and their programs. Called by a tick of the control worker; may run twice at once, may stop anywhere.

A tick must not hold the control worker for long: what it has claimed goes out at the same time, under one time limit.
"""

from __future__ import annotations

import asyncio
import json
import logging
import smtplib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.serializers.json import DjangoJSONEncoder

from alerts.actions import deliveries
from alerts.models import Delivery
from alerts.signing import HEADER, secrets_of, signature
from alerts.states import AlertEvent, Channel
from alerts.views import alert_told
from catalog.webhooks import check_allowed

log = logging.getLogger(__name__)

SENT_AT_ONCE_MAX = 20
# From the look-up of the name to the first line of the answer, however slowly the other side speaks.
WEBHOOK_SECONDS_MAX = 5
USER_AGENT = "recall-platform"
SUBJECT_CHARACTERS_MAX = 200
NO_MAIL_SERVER = "No mail server is configured. A platform administrator sets RECALL_EMAIL_URL."


class NotDelivered(Exception):
    """Why, for people. Never what the other side wrote: it could be anything."""


@dataclass(frozen=True)
class Message:
    """A delivery with everything that sending it takes, so that no database is asked meanwhile."""

    delivery: Delivery
    body: bytes
    secrets: Sequence[str]


def send_due() -> int:
    """Sends what is due, at most SENT_AT_ONCE_MAX messages, and writes down what came of each; says how many."""
    deliveries.deliveries_give_up()
    messages = [_message(delivery) for delivery in deliveries.deliveries_claim(SENT_AT_ONCE_MAX)]
    if not messages:
        return 0
    for message, error in zip(messages, asyncio.run(_send_all(messages)), strict=True):
        if error:
            deliveries.delivery_failed(message.delivery, error)
        else:
            deliveries.delivery_sent(message.delivery)
    return len(messages)


def _message(delivery: Delivery) -> Message:
    alert = delivery.alert
    told = {
        "id": f"{alert.tenant.name}-{alert.number}-{delivery.event}",
        "event": f"alert.{delivery.event}",
        "tenant": alert.tenant.name,
        "alert": alert_told(alert),
    }
    present, before, _ = secrets_of(alert.tenant)
    body = json.dumps(told, cls=DjangoJSONEncoder).encode()
    return Message(delivery, body, [present, before] if before else [present])


async def _send_all(messages: Sequence[Message]) -> list[str]:
    """What went wrong with each, or empty."""
    client = httpx.AsyncClient(
        verify=ssl.create_default_context(),
        # No proxy, no .netrc, no redirect: the host that was allowed is the host that is called.
        trust_env=False,
        follow_redirects=False,
        timeout=WEBHOOK_SECONDS_MAX,
    )
    async with client:
        return list(await asyncio.gather(*(_send(client, message) for message in messages)))


async def _send(client: httpx.AsyncClient, message: Message) -> str:
    try:
        if message.delivery.channel == Channel.WEBHOOK:
            async with asyncio.timeout(WEBHOOK_SECONDS_MAX):
                await _post(client, message)
        else:
            await asyncio.to_thread(_mail, message.delivery)
    except TimeoutError:
        return f"No answer within {WEBHOOK_SECONDS_MAX} s."
    except NotDelivered as error:
        return str(error)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, smtplib.SMTPException) as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def _post(client: httpx.AsyncClient, message: Message) -> None:
    """Raises NotDelivered unless the answer begins with 2xx; not a byte of its body is read."""
    url = message.delivery.target
    check_allowed(url, settings.WEBHOOK_HOSTS)
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        HEADER: signature(message.secrets, timestamp=timestamp, body=message.body),
    }
    async with client.stream("POST", url, content=message.body, headers=headers) as answer:
        if answer.is_redirect:
            raise NotDelivered(f"The receiver answered {answer.status_code}; redirects are not followed.")
        if not answer.is_success:
            raise NotDelivered(f"The receiver answered {answer.status_code}.")


def _mail(delivery: Delivery) -> None:
    """Raises NotDelivered without a mail server; smtplib's errors and OSError of one that does not take it."""
    if not settings.EMAIL_HOST:
        raise NotDelivered(NO_MAIL_SERVER)
    alert = delivery.alert
    about = f"{alert.tenant.name}/{alert.service.name}"
    over = "Over: " if delivery.event == AlertEvent.RESOLVED else ""
    subject = f"[recall] {over}{about}: {alert.reason} {alert.subject}".strip()
    lines = [
        alert.message,
        "",
        f"service   {about}",
        f"alert     {alert.number} ({alert.severity}, seen {alert.count} times)",
        f"reason    {alert.reason}",
        f"subject   {alert.subject or '-'}",
        f"opened    {alert.opened_at:%Y-%m-%d %H:%M:%S} UTC",
        *([f"resolved  {alert.resolved_at:%Y-%m-%d %H:%M:%S} UTC"] if alert.resolved_at else []),
        "",
        f"{settings.CONSOLE_URL}/alerts/",
    ]
    text = "\n".join(lines)
    EmailMessage(subject[:SUBJECT_CHARACTERS_MAX], text, to=delivery.target.split(",")).send()
