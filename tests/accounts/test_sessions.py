"""Where a person is signed in, and how that ends."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Session
from audit.models import AuditEvent
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36"
COOKIE = "recall_session"


def browser(username: str, agent: str = FIREFOX, address: str = "192.0.2.1") -> Client:
    """Signed in as a person does it."""
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    assert client.post("/login/", {"username": username, "password": PASSWORD}).status_code == 302
    return client


def text_of(client: Client) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get("/account/").content.decode()))


def is_signed_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def handles(client: Client) -> list[str]:
    return re.findall(r'action="/account/sessions/([0-9a-f]+)/end/"', client.get("/account/").content.decode())


def test_the_account_lists_each_browser_and_which_is_this_one(alice: User, bob: User) -> None:
    desk = browser("alice")
    browser("alice", PHONE, "198.51.100.7")
    browser("bob", "curl/8.5.0", "203.0.113.5")
    text = text_of(desk)
    assert re.search(r"Firefox 128 on Linux this one 192\.0\.2\.1 \d{4}-.* UTC \d s ago", text)
    assert "Chrome 131 on Android 198.51.100.7" in text
    assert "curl" not in text


def test_no_page_shows_a_key(alice: User) -> None:
    desk = browser("alice")
    phone = browser("alice", PHONE)
    content = desk.get("/account/").content.decode()
    for client in (desk, phone):
        assert client.cookies[COOKIE].value not in content
    assert len(handles(desk)) == 1


def test_one_session_is_ended_and_the_others_go_on(alice: User) -> None:
    desk, phone, tablet = browser("alice"), browser("alice", PHONE), browser("alice", address="198.51.100.9")
    [handle] = [s.handle for s in Session.objects.all() if s.agent == PHONE]
    response = desk.post(f"/account/sessions/{handle}/end/", follow=True)
    assert "Chrome 131 on Android is signed out." in response.content.decode()
    assert [is_signed_in(client) for client in (desk, phone, tablet)] == [True, False, True]
    event = AuditEvent.objects.get(verb="session.end")
    assert (event.actor, event.target, event.before["browser"]) == ("alice", "alice", "Chrome 131 on Android")


def test_all_others_are_ended_at_once(alice: User, bob: User) -> None:
    desk, phone, tablet, bobs = browser("alice"), browser("alice", PHONE), browser("alice"), browser("bob")
    response = desk.post("/account/sessions/end-others/", follow=True)
    assert "2 sessions ended" in response.content.decode()
    assert [is_signed_in(client) for client in (desk, phone, tablet, bobs)] == [True, False, False, True]
    assert AuditEvent.objects.get(verb="session.end_others").after == {"sessions_ended": 2}


def test_another_person_s_session_looks_like_one_that_does_not_exist(alice: User, bob: User) -> None:
    alices, bobs = browser("alice"), browser("bob")
    handle = Session.objects.get(user=alice).handle
    foreign = bobs.post(f"/account/sessions/{handle}/end/")
    unknown = bobs.post(f"/account/sessions/{'0' * 24}/end/")
    assert foreign.status_code == unknown.status_code == 404
    tokens = rb"[A-Za-z0-9]{64}"
    assert re.sub(tokens, b"", foreign.content) == re.sub(tokens, b"", unknown.content)
    assert is_signed_in(alices)


def test_a_visit_is_noted_at_most_once_a_minute(alice: User) -> None:
    desk = browser("alice")

    def writes() -> int:
        with CaptureQueriesContext(connection) as captured:
            desk.get("/")
        return sum("UPDATE" in query["sql"] and "accounts_session" in query["sql"] for query in captured)

    assert writes() == 0
    long_ago = timezone.now() - timedelta(minutes=5)
    Session.objects.update(seen_at=long_ago)
    assert writes() == 1
    assert writes() == 0
    assert Session.objects.get().seen_at > long_ago


def test_it_tells_where_the_browser_is_now_and_since_when_it_is_signed_in(alice: User) -> None:
    desk = browser("alice")
    yesterday = timezone.now() - timedelta(days=1)
    Session.objects.update(seen_at=yesterday, signed_in_at=yesterday)
    desk.get("/", REMOTE_ADDR="198.51.100.9")
    session = Session.objects.get()
    assert (session.address, session.signed_in_at) == ("198.51.100.9", yesterday)


def test_a_request_that_is_under_way_while_its_session_ends_does_not_bring_it_back(alice: User) -> None:
    desk = browser("alice")
    session = Session.objects.get()
    Session.objects.all().delete()
    from accounts.actions import session_seen
    from accounts.sessions import Seen

    session_seen(session_key=session.session_key, seen=Seen(address="192.0.2.1"))
    assert not Session.objects.exists()
    assert not is_signed_in(desk)


def test_who_signs_out_is_in_no_list_and_the_next_person_starts_afresh(alice: User, bob: User) -> None:
    desk = browser("alice")
    desk.post("/logout/")
    assert not Session.objects.filter(user=alice).exists()
    desk.post("/login/", {"username": "bob", "password": PASSWORD})
    session = Session.objects.get(user=bob)
    assert session.signed_in_at is not None
    assert timezone.now() - session.signed_in_at < timedelta(seconds=30)


def test_expired_sessions_are_not_shown_and_go_with_the_next_sign_in(alice: User, bob: User) -> None:
    desk = browser("alice")
    browser("alice", PHONE)
    Session.objects.filter(agent=PHONE).update(expire_date=timezone.now() - timedelta(seconds=1))
    assert "Android" not in text_of(desk)
    browser("bob")
    assert not Session.objects.filter(agent=PHONE).exists()


def test_what_a_browser_says_of_itself_cannot_break_a_page(alice: User) -> None:
    desk = browser("alice", "<b>Mozilla</b>\x01" + "x" * 1_000)
    session = Session.objects.get()
    assert len(session.agent) == 300
    assert session.agent.isprintable()
    assert "<b>Mozilla" not in desk.get("/account/").content.decode()


def test_machines_and_strangers_have_no_session(alice: User, films: Any) -> None:
    Client().get("/login/")
    Client().get("/api/v1/health")
    assert not Session.objects.exists()


def test_cookies_are_kept_from_scripts_and_other_sites_and_to_tls_where_there_is_tls(
    alice: User, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = 1
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLOWED_HOSTS = ["testserver"]
    sent = {"username": "alice", "password": PASSWORD}
    plain = Client().post("/login/", sent).cookies[COOKIE]
    secured = Client().post("/login/", sent, headers={"X-Forwarded-Proto": "https"}).cookies
    assert (plain["httponly"], plain["samesite"], bool(plain["secure"])) == (True, "Lax", False)
    assert all(secured[name]["secure"] for name in (COOKIE, "recall_csrf"))
    assert plain["max-age"] == 14 * 24 * 3600
