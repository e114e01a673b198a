"""Signing in: five wrong passwords lock a name for an address, and a stranger locks nobody out."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings as django_settings
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.actions import sign_in_unlock
from accounts.selectors import sign_in_locked_until
from audit.models import AuditEvent
from audit.selectors import verify
from common.errors import InvalidArgument
from tests.factories import PASSWORD, TESTER

pytestmark = pytest.mark.django_db

HOME, CAFE = "192.0.2.1", "198.51.100.7"
WRONG = "not the password"
ALLOWED = 5


def sign_in(username: str, password: str, address: str = CAFE, **headers: str) -> HttpResponse:
    """From a browser of its own, which remembers nothing."""
    answer: Any = Client().post(
        "/login/", {"username": username, "password": password}, REMOTE_ADDR=address, headers=headers
    )
    return answer


def mistype(username: str = "alice", *, times: int = ALLOWED, address: str = CAFE, **headers: str) -> HttpResponse:
    return [sign_in(username, WRONG, address, **headers) for _ in range(times)][-1]


def is_in(answer: HttpResponse) -> bool:
    return answer.status_code == 302


def test_the_default_is_five_wrong_passwords_and_a_quarter_of_an_hour() -> None:
    assert (django_settings.SIGN_IN_FAILURES_MAX, django_settings.SIGN_IN_LOCK_SECONDS) == (ALLOWED, 900)


def test_a_stranger_s_wrong_passwords_lock_the_stranger_s_address_and_not_the_person(alice: User) -> None:
    assert mistype(times=ALLOWED - 1).status_code == 200
    assert mistype(times=1).status_code == 429
    assert sign_in("alice", PASSWORD, CAFE).status_code == 429
    assert is_in(sign_in("alice", PASSWORD, HOME))


def test_the_lock_is_the_name_s_alone_so_that_others_at_that_address_sign_in(alice: User, bob: User) -> None:
    mistype("alice")
    assert is_in(sign_in("bob", PASSWORD, CAFE))


def test_the_page_says_until_when(alice: User) -> None:
    answer = mistype()
    until = sign_in_locked_until("alice", CAFE)
    assert until is not None
    left = (until - timezone.now()).total_seconds()
    assert 0 <= int(answer["Retry-After"]) - left < 2
    assert 890 < left <= 900
    assert f"until <strong>{until:%Y-%m-%d %H:%M:%S} UTC</strong>" in answer.content.decode()
    assert answer["Cache-Control"] == "no-store"


def test_trying_on_makes_it_last_no_longer(alice: User) -> None:
    mistype()
    until = sign_in_locked_until("alice", CAFE)
    mistype(times=3)
    assert sign_in_locked_until("alice", CAFE) == until


def test_it_ends_by_itself(alice: User) -> None:
    mistype()
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(seconds=901))
    assert sign_in_locked_until("alice", CAFE) is None
    assert is_in(sign_in("alice", PASSWORD, CAFE))


def test_the_right_password_forgets_the_wrong_ones_before_it(alice: User) -> None:
    mistype(times=ALLOWED - 1)
    assert is_in(sign_in("alice", PASSWORD))
    assert mistype(times=ALLOWED - 1).status_code == 200


def test_many_browsers_at_one_address_count_together(alice: User) -> None:
    answers = [sign_in("alice", WRONG, CAFE, user_agent=f"Browser/{number}") for number in range(ALLOWED)]
    assert [answer.status_code for answer in answers] == [200] * (ALLOWED - 1) + [429]
    assert sign_in_locked_until("alice", CAFE) is not None


def test_a_lock_of_attempts_of_several_browsers_ends_when_enough_of_them_are_forgotten(alice: User) -> None:
    now = timezone.now()
    for minutes_ago, failures in ((10, 3), (6, 1), (2, 2)):
        attempt = AccessAttempt.objects.create(
            username="alice", ip_address=CAFE, user_agent=str(minutes_ago), failures_since_start=failures
        )
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=now - timedelta(minutes=minutes_ago))
    assert sign_in_locked_until("alice", CAFE) == now + timedelta(minutes=5)


def test_an_unknown_name_is_answered_like_a_known_one_to_the_last_letter(alice: User) -> None:
    def told(answer: HttpResponse) -> tuple[int, str]:
        text = re.sub(r"[A-Za-z0-9]{64}|\b[0-9a-f]{16}\b", "*", answer.content.decode())
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d+ min( \d+ s)?", "*", text)
        return answer.status_code, text.replace("nobody", "alice")

    for times in (1, ALLOWED - 1, 1):
        assert told(mistype("alice", times=times)) == told(mistype("nobody", times=times))


def test_an_unknown_name_costs_as_many_hashes_as_a_known_one(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashes.append(password)
        return encode(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)

    def cost(username: str) -> int:
        hashes.clear()
        mistype(username, times=1)
        return len(hashes)

    assert cost("alice") == cost("nobody") == 1
    alice.is_active = False
    alice.save()
    assert cost("alice") == 1
    mistype("alice", times=3), mistype("nobody", times=4)
    assert cost("alice") == cost("nobody") == 0


def test_the_trail_tells_of_a_lock_once_and_from_where(alice: User) -> None:
    mistype(times=ALLOWED + 3)
    event = AuditEvent.objects.get(verb="sign_in.lock")
    assert (event.actor, event.target, event.address) == ("sign-in", "alice", CAFE)
    assert datetime.fromisoformat(event.after["until"]) == sign_in_locked_until("alice", CAFE)
    assert verify().fault is None


def test_a_password_in_the_wrong_field_does_not_reach_the_trail(db: None) -> None:
    mistype("correct horse battery staple")
    event = AuditEvent.objects.get(verb="sign_in.lock")
    assert (event.target, event.after["known"]) == ("", False)
    assert "horse" not in repr([event.target, event.before, event.after])


def test_nobody_is_locked_by_what_is_no_attempt(alice: User) -> None:
    for _ in range(ALLOWED + 1):
        Client().post("/login/", {"username": "alice", "password": ""}, REMOTE_ADDR=CAFE)
    assert is_in(sign_in("alice", PASSWORD, CAFE))


def test_an_administrator_ends_a_lock_for_one_address_or_for_all(alice: User) -> None:
    mistype(address=CAFE)
    mistype(address=HOME)
    assert sign_in_unlock(actor=TESTER, username="alice", address=CAFE) == ALLOWED
    assert is_in(sign_in("alice", PASSWORD, CAFE))
    assert sign_in("alice", PASSWORD, HOME).status_code == 429
    assert sign_in_unlock(actor=TESTER, username="alice") == ALLOWED
    assert is_in(sign_in("alice", PASSWORD, HOME))
    told = list(AuditEvent.objects.filter(verb="sign_in.unlock").order_by("pk").values_list("target", "after"))
    assert told == [
        ("alice", {"address": CAFE, "forgotten": 5}),
        ("alice", {"address": "every address", "forgotten": 5}),
    ]


def test_it_ends_no_lock_of_what_is_no_address(alice: User) -> None:
    with pytest.raises(InvalidArgument) as caught:
        sign_in_unlock(actor=TESTER, username="alice", address="cafe")
    assert caught.value.field == "address"


def test_one_ipv6_network_counts_as_one_address(alice: User) -> None:
    for number in range(ALLOWED):
        answer = sign_in("alice", WRONG, f"2001:db8:0:1::{number:x}")
    assert answer.status_code == 429
    assert is_in(sign_in("alice", PASSWORD, "2001:db8:0:2::1"))
    assert sign_in_unlock(actor=TESTER, username="alice", address="2001:db8:0:1::77") == ALLOWED


def test_without_a_proxy_of_ours_a_forged_header_moves_nobody(alice: User) -> None:
    for number in range(ALLOWED):
        answer = sign_in("alice", WRONG, CAFE, x_forwarded_for=f"203.0.113.{number}")
    assert answer.status_code == 429


def test_behind_a_proxy_callers_are_told_apart_by_what_the_proxy_saw(alice: User, settings: Any) -> None:
    settings.TRUSTED_PROXIES = 1
    for number in range(ALLOWED):
        # Whatever a caller sends himself stands to the left of what the proxy adds.
        answer = sign_in("alice", WRONG, "10.0.0.1", x_forwarded_for=f"203.0.113.{number}, {CAFE}")
    assert answer.status_code == 429
    assert is_in(sign_in("alice", PASSWORD, "10.0.0.1", x_forwarded_for=HOME))
    assert AuditEvent.objects.get(verb="sign_in.lock").address == CAFE
