"""Who is to hear of an alert hears of it: signed, in order, again when it failed, and only where it is allowed."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core import mail
from django.db.models.functions import Now
from django.utils import timezone

from alerts import sending
from alerts.actions import alert_raise, alert_resolve, deliveries, webhook_secret_rotate
from alerts.actions.alerts import SECRET_OVERLAP_HOURS
from alerts.models import Delivery, TenantAlerts
from alerts.signing import secrets_of
from audit.selectors import events_of
from catalog.actions import service_update
from tests.alerts.receiver import Receiver, receiving
from tests.factories import TESTER, make_service
from workers import tasks

pytestmark = pytest.mark.django_db

SECRET = "whsec_"


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    with receiving() as found:
        settings.WEBHOOK_HOSTS = [found.host]
        yield found


@pytest.fixture
def hooked(films, receiver):
    """Alice's service, whose alerts go to the receiver."""
    return make_service(films, "movies", notify={"webhook": receiver.url})


def raise_late(service):
    return alert_raise(service=service, reason="drop.late", message="Nothing came for 26 h.", evidence={"hours": 26})


def make_due():
    Delivery.objects.filter(state="PENDING").update(due_at=Now() - timedelta(seconds=1))


def is_ours(header: str, body: bytes, secret: str) -> bool:
    """As docs/tenants/alerts.md tells a receiver to do it."""
    parts = [part.partition("=")[::2] for part in header.split(",")]
    timestamp = next(value for name, value in parts if name == "t")
    wanted = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    is_signed = any(hmac.compare_digest(value, wanted) for name, value in parts if name == "v1")
    return is_signed and abs(time.time() - int(timestamp)) <= 300


def test_an_opened_and_a_resolved_alert_are_posted_once_each_and_signed(films, hooked, receiver):
    raise_late(hooked)
    raise_late(hooked)
    assert sending.send_due() == 1
    alert_resolve(service=hooked, reason="drop.late")
    tasks.sweep_alerts()
    assert sending.send_due() == 0
    secret = secrets_of(films)[0]
    told = [json.loads(body) for _, _, body in receiver.calls]
    assert [(each["id"], each["event"], each["tenant"]) for each in told] == [
        ("films-1-opened", "alert.opened", "films"),
        ("films-1-resolved", "alert.resolved", "films"),
    ]
    first = told[0]["alert"]
    assert (first["service"], first["reason"], first["count"], first["evidence"]) == (
        "movies",
        "drop.late",
        2,
        {"hours": 26},
    )
    assert told[1]["alert"]["state"] == "RESOLVED"
    for path, headers, body in receiver.calls:
        assert path == "/hook?team=films"
        assert headers["Content-Type"] == "application/json"
        assert is_ours(headers["Recall-Signature"], body, secret)
        assert not is_ours(headers["Recall-Signature"], body + b" ", secret)
        assert not is_ours(headers["Recall-Signature"], body, "whsec_another")
    assert set(Delivery.objects.values_list("state", "attempts", "error")) == {("SENT", 1, "")}


def test_what_nobody_is_to_hear_of_makes_no_delivery(films_service):
    raise_late(films_service)
    assert sending.send_due() == 0
    assert not Delivery.objects.exists()


def test_it_tries_again_later_and_each_time_waits_longer(hooked, receiver):
    raise_late(hooked)
    receiver.answers = [500, 503]
    before = timezone.now()
    sending.send_due()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.error) == ("PENDING", 1, "The receiver answered 500.")
    assert delivery.due_at > before + timedelta(seconds=deliveries.BACKOFF_SECONDS_MIN / 2)
    assert sending.send_due() == 0
    make_due()
    sending.send_due()
    make_due()
    sending.send_due()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.error) == ("SENT", 3, "")
    assert delivery.sent_at is not None
    ids = {json.loads(body)["id"] for _, _, body in receiver.calls}
    assert ids == {"films-1-opened"}


def test_the_pauses_grow_up_to_a_maximum():
    pauses = [deliveries.backoff_seconds(attempts) for attempts in range(1, deliveries.ATTEMPTS_MAX)]
    assert pauses[:4] == [10, 30, 90, 270]
    assert max(pauses) == deliveries.BACKOFF_SECONDS_MAX
    assert pauses == sorted(pauses)


def test_after_the_last_attempt_it_is_given_up_and_the_error_stays(hooked, receiver):
    raise_late(hooked)
    receiver.answers = [500] * deliveries.ATTEMPTS_MAX
    for _ in range(deliveries.ATTEMPTS_MAX):
        assert sending.send_due() == 1
        make_due()
    assert sending.send_due() == 0
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("FAILED", deliveries.ATTEMPTS_MAX)
    assert delivery.error == "The receiver answered 500."


def test_what_is_over_is_not_told_before_what_began(hooked, receiver):
    raise_late(hooked)
    receiver.answers = [500]
    sending.send_due()
    alert_resolve(service=hooked, reason="drop.late")
    assert sending.send_due() == 0
    make_due()
    sending.send_due()
    sending.send_due()
    assert [json.loads(body)["event"] for _, _, body in receiver.calls[1:]] == ["alert.opened", "alert.resolved"]


def test_two_senders_never_send_the_same(hooked):
    raise_late(hooked)
    first, second = deliveries.deliveries_claim(10), deliveries.deliveries_claim(10)
    assert (len(first), second) == (1, [])


def test_who_takes_over_from_a_sender_that_died_is_not_overruled_by_it(hooked):
    raise_late(hooked)
    [dead] = deliveries.deliveries_claim(1)
    make_due()
    [living] = deliveries.deliveries_claim(1)
    deliveries.delivery_failed(dead, "late word")
    deliveries.delivery_sent(dead)
    living.refresh_from_db()
    assert (living.state, living.error, living.attempts) == ("PENDING", "", 2)
    deliveries.delivery_sent(living)
    assert Delivery.objects.get().state == "SENT"


def test_a_sender_that_died_in_the_last_attempt_leaves_nothing_waiting(hooked):
    raise_late(hooked)
    Delivery.objects.update(attempts=deliveries.ATTEMPTS_MAX)
    assert sending.send_due() == 0
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.error) == ("FAILED", deliveries.SENDER_DIED)


def test_a_tenant_with_too_many_waiting_messages_gets_no_more(hooked, monkeypatch):
    monkeypatch.setattr(deliveries, "PENDING_PER_TENANT_MAX", 1)
    raise_late(hooked)
    alert_raise(service=hooked, reason="replica.wrong", message="Wrong.")
    states = list(Delivery.objects.order_by("pk").values_list("state", "error"))
    assert states == [("PENDING", ""), ("FAILED", deliveries.FULL)]


def test_a_redirect_is_not_followed(hooked, receiver):
    raise_late(hooked)
    receiver.answers = [302]
    sending.send_due()
    assert "redirects are not followed" in Delivery.objects.get().error
    assert [path for path, _, _ in receiver.calls] == ["/hook?team=films"]


def test_a_receiver_that_answers_a_byte_at_a_time_holds_nobody_up(hooked, receiver, monkeypatch):
    monkeypatch.setattr(sending, "WEBHOOK_SECONDS_MAX", 1)
    receiver.pause_seconds = 0.4
    raise_late(hooked)
    begun = time.monotonic()
    sending.send_due()
    assert time.monotonic() - begun < 10
    assert Delivery.objects.get().error == "No answer within 1 s."


def test_a_body_of_any_size_is_not_read(hooked, receiver):
    receiver.body = b"x" * 50_000_000
    raise_late(hooked)
    sending.send_due()
    assert Delivery.objects.get().state == "SENT"


def test_nobody_listening_is_told_as_what_it_is(hooked, settings):
    settings.WEBHOOK_HOSTS = ["127.0.0.1:1"]
    raise_late(hooked)
    Delivery.objects.update(target="http://127.0.0.1:1/hook")
    sending.send_due()
    assert Delivery.objects.get().error.startswith("ConnectError")


def test_a_host_that_is_not_allowed_any_more_is_not_called(hooked, receiver, settings):
    raise_late(hooked)
    settings.WEBHOOK_HOSTS = []
    sending.send_due()
    assert "RECALL_WEBHOOK_HOSTS" in Delivery.objects.get().error
    assert receiver.calls == []


def test_a_rotated_secret_signs_beside_the_one_before_it_for_a_day(films, hooked, receiver):
    before = secrets_of(films)[0]
    book = webhook_secret_rotate(actor=TESTER, tenant=films)
    present, old, until = secrets_of(films)
    assert (old, present != before, before.startswith(SECRET)) == (before, True, True)
    assert book.secret_before_until == until
    assert until - timezone.now() > timedelta(hours=SECRET_OVERLAP_HOURS - 1)
    raise_late(hooked)
    sending.send_due()
    _, headers, body = receiver.calls[0]
    assert is_ours(headers["Recall-Signature"], body, present)
    assert is_ours(headers["Recall-Signature"], body, before)
    TenantAlerts.objects.update(secret_before_until=Now() - timedelta(seconds=1))
    assert secrets_of(films) == (present, "", None)
    alert_resolve(service=hooked, reason="drop.late")
    sending.send_due()
    assert not is_ours(receiver.calls[1][1]["Recall-Signature"], receiver.calls[1][2], before)
    assert next(e.verb for e in events_of("films")) == "webhook_secret.rotate"
    assert present not in json.dumps([e.after for e in events_of("films")])


def test_each_tenant_has_a_secret_of_its_own(films, books):
    assert secrets_of(films)[0] != secrets_of(books)[0]
    assert secrets_of(films) == secrets_of(films)


def test_a_mail_goes_to_everybody_who_is_named(films, settings):
    settings.EMAIL_HOST = "mail.example.org"
    named = ["alice@example.org", "bob@example.org"]
    service = make_service(films, "movies", notify={"email": named})
    alert_raise(service=service, reason="drop.late", subject="2026-11-25", message="Nothing came.", severity="critical")
    sending.send_due()
    alert_resolve(service=service, reason="drop.late", subject="2026-11-25")
    sending.send_due()
    assert [letter.to for letter in mail.outbox] == [named, named]
    assert mail.outbox[0].subject == "[recall] films/movies: drop.late 2026-11-25"
    assert "Nothing came." in mail.outbox[0].body
    assert "critical" in mail.outbox[0].body
    assert mail.outbox[1].subject.startswith("[recall] Over: films/movies")
    assert "resolved" in mail.outbox[1].body


def test_without_a_mail_server_the_delivery_says_so(films, settings):
    settings.EMAIL_HOST = ""
    raise_late(make_service(films, "movies", notify={"email": ["alice@example.org"]}))
    sending.send_due()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.error) == ("PENDING", sending.NO_MAIL_SERVER)
    assert mail.outbox == []


def test_a_mail_server_that_is_away_is_tried_again(films, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    raise_late(make_service(films, "movies", notify={"email": ["alice@example.org"]}))
    sending.send_due()
    assert Delivery.objects.get().error.startswith("ConnectionRefusedError")


def test_both_channels_are_told_and_one_that_fails_leaves_the_other(films, receiver, settings):
    settings.EMAIL_HOST = ""
    notify = {"webhook": receiver.url, "email": ["alice@example.org"]}
    raise_late(make_service(films, "movies", notify=notify))
    assert sending.send_due() == 2
    assert set(Delivery.objects.values_list("channel", "state")) == {("webhook", "SENT"), ("email", "PENDING")}


def test_who_is_told_is_who_the_spec_names_when_it_happens(hooked, receiver):
    service = service_update(actor=TESTER, service=hooked, spec={"notify": {"webhook": None}})
    raise_late(hooked)
    assert (service.spec["notify"]["webhook"], Delivery.objects.count()) == (None, 0)
