"""One's own password: how it is changed, and when it must be."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.actions import user_create, user_set_password
from accounts.models import Session
from accounts.selectors import must_change_password
from audit.models import AuditEvent
from tenants.actions import member_add
from tenants.models import Tenant
from tests.accounts.test_sessions import browser, is_signed_in
from tests.factories import PASSWORD, TESTER

pytestmark = pytest.mark.django_db

PAGE = "/account/password/"
BETTER = "an even better battery"


def change(client: Client, present: str = PASSWORD, password: str = BETTER, **more: str) -> Any:
    return client.post(PAGE, {"present": present, "password": password, "again": password, **more})


def signed_in_with(password: str, username: str = "erin") -> Client:
    client = Client()
    assert client.post("/login/", {"username": username, "password": password}).status_code == 302
    return client


def test_it_is_changed_and_every_other_session_ends(alice: User, bob: User) -> None:
    here, elsewhere, bobs = browser("alice"), browser("alice"), browser("bob")
    since = Session.objects.get(session_key=here.session.session_key).signed_in_at
    assert change(here)["Location"] == "/account/"
    alice.refresh_from_db()
    assert alice.check_password(BETTER)
    assert [is_signed_in(client) for client in (here, elsewhere, bobs)] == [True, False, True]
    assert Session.objects.get(user=alice).signed_in_at == since
    event = AuditEvent.objects.get(verb="user.change_password")
    assert (event.actor, event.target, event.after) == ("alice", "alice", {"sessions_ended": 1})
    assert BETTER not in repr(AuditEvent.objects.values())


@pytest.mark.parametrize(
    ("given", "objection"),
    [
        ({"present": "wrong"}, "This is not your present password."),
        ({"password": "short"}, "at least 10 characters"),
        ({"password": "password123"}, "too common"),
        ({"password": "alice-alice"}, "too similar to the username"),
        ({"password": PASSWORD}, "another password than the present one"),
        ({"password": "x" * 1_025}, "at most 1,024 characters"),
        ({"again": "something else"}, "The two new passwords differ."),
    ],
)
def test_what_is_wrong_stands_beside_the_field_and_nothing_changes(
    alice: User, given: dict[str, str], objection: str
) -> None:
    alice.username = "alice-alice-a"
    alice.save()
    client = signed_in_with(PASSWORD, "alice-alice-a")
    response = change(client, **given)
    assert response.status_code == 200
    assert objection in response.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert is_signed_in(client)


def test_who_found_an_open_browser_cannot_guess_the_password_for_long(alice: User) -> None:
    client = browser("alice")
    answers = [change(client, present=f"guess {number}").status_code for number in range(5)]
    assert answers == [200, 200, 200, 200, 429]
    assert change(client).status_code == 429
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_a_generated_password_opens_nothing_but_the_page_that_changes_it(films: Tenant) -> None:
    erin, generated = user_create(actor=TESTER, username="erin", admin=True)
    assert generated is not None
    client = signed_in_with(generated)
    for path in ("/", "/t/films/members/", "/account/", "/operations/"):
        assert client.get(path)["Location"] == f"{PAGE}?next=" + path.replace("/", "%2F")
    assert client.post("/t/films/quota/", {"services_max": 1}).status_code == 302
    assert films.quota.services_max == 20
    refused = client.get("/api/v1/tenants")
    assert (refused.status_code, refused.json()["error"]["reason"]) == (403, "PASSWORD_CHANGE_REQUIRED")
    assert "Choose a password of your own" in client.get(PAGE).content.decode()
    assert change(client, present=generated, next="/t/films/members/")["Location"] == "/t/films/members/"
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/tenants").status_code == 200
    assert not must_change_password(erin)


def test_who_must_change_it_may_sign_out_instead(films: Tenant) -> None:
    _, generated = user_create(actor=TESTER, username="erin")
    client = signed_in_with(str(generated))
    assert client.post("/logout/").status_code == 302
    assert client.get("/")["Location"].startswith("/login/")


def test_no_address_outside_is_led_to(films: Tenant) -> None:
    _, generated = user_create(actor=TESTER, username="erin")
    client = signed_in_with(str(generated))
    assert change(client, present=str(generated), next="https://evil.example/")["Location"] == "/account/"


def test_whoever_was_taken_in_with_a_password_must_change_it_unless_it_is_their_own(films: Tenant) -> None:
    member_add(actor=TESTER, tenant=films, username="erin", role="viewer", password=PASSWORD)
    own = {"password": PASSWORD, "must_change_password": False}
    member_add(actor=TESTER, tenant=films, username="frank", role="viewer", **own)
    must = {name: must_change_password(User.objects.get(username=name)) for name in ("erin", "frank")}
    assert must == {"erin": True, "frank": False}


def test_who_was_there_before_is_asked_for_nothing(alice: User) -> None:
    assert not must_change_password(alice)
    assert is_signed_in(browser("alice"))


def test_a_password_that_an_administrator_sets_ends_all_sessions_and_must_be_changed(alice: User) -> None:
    client = browser("alice")
    generated = user_set_password(actor=TESTER, user=alice)
    assert not is_signed_in(client)
    assert must_change_password(alice)
    assert signed_in_with(str(generated), "alice").get("/")["Location"].startswith(PAGE)
    assert AuditEvent.objects.get(verb="user.set_password").after == {"sessions_ended": 1}
