"""The people of a team: what Alice may press, and what Bob, Victor and Charlie may not."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.selectors import must_change_password
from audit.selectors import events_of
from console.permission_words import WORDS
from console.views import members as members_page
from tenants.models import Member, Tenant
from tenants.permissions import ROLES, Permission
from tests.console.test_pages import signed_in
from tests.factories import make_member, make_user

PAGE = "/t/films/members/"


def text_of(content: bytes) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content.decode())))


def role_of(username: str) -> str | None:
    return Member.objects.filter(tenant__name="films", user__username=username).values_list("role", flat=True).first()


def test_everybody_of_the_team_sees_who_is_in_it_and_what_each_may_do(victor: User, bob: User) -> None:
    text = text_of(signed_in(victor).get(PAGE).content)
    assert re.search(r"alice owner .* bob operator .* victor you viewer", text)
    viewer = "viewer look at services, versions, builds and alerts; ask for recalls"
    assert f"{viewer} operator everything that viewer may, and:" in text


def test_each_permission_of_a_role_is_told_in_words() -> None:
    assert frozenset(WORDS) == ROLES["owner"]
    assert frozenset(Permission) - frozenset(WORDS) == {Permission.ADMIN}


@pytest.mark.parametrize("who", ["bob", "victor"])
def test_who_may_not_manage_sees_no_button_and_is_refused(bob: User, victor: User, who: str) -> None:
    client = signed_in(User.objects.get(username=who))
    content = client.get(PAGE).content.decode()
    assert not [word for word in ("Change role", "Remove", "Take in") if word in content]
    for path, sent in (("add/", {"username": who, "role": "owner"}), (f"{who}/role/", {"role": "owner"})):
        assert client.post(PAGE + path, sent).status_code == 403
    assert client.post(f"{PAGE}alice/remove/").status_code == 403
    assert role_of("alice") == "owner"


def test_an_owner_takes_in_somebody_who_has_an_account(alice: User, films: Tenant) -> None:
    make_user("erin")
    page = text_of(signed_in(alice).post(PAGE + "add/", {"username": "erin", "role": "operator"}, follow=True).content)
    assert "erin is operator of films." in page
    assert role_of("erin") == "operator"
    assert events_of("films")[0].verb == "member.add"


def test_a_new_person_gets_a_password_that_is_shown_once_and_must_be_changed(alice: User, films: Tenant) -> None:
    client = signed_in(alice)
    response = client.post(PAGE + "add/", {"username": "erin", "role": "viewer", "new": "on"})
    password = response.context["made"]["password"]
    assert password in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert password not in client.get(PAGE).content.decode()
    assert password not in repr([(event.before, event.after) for event in [*events_of("films"), *events_of("")]])
    erin = User.objects.get(username="erin")
    assert erin.check_password(password)
    assert must_change_password(erin)
    assert Client().post("/login/", {"username": "erin", "password": password}).status_code == 302


@pytest.mark.parametrize(
    ("given", "objection"),
    [
        ({"username": "nobody"}, 'There is no such user. Tick "New here" to make one.'),
        ({"username": "charlie", "new": "on"}, 'There is a user of that name. Leave "New here" out to take them in.'),
        ({"username": "bob"}, "bob is a member of films already. Change the role instead."),
        ({"username": "a b", "new": "on"}, "Enter a valid username"),
        ({"username": ""}, "This field is required."),
        ({"username": "charlie", "role": "king"}, "king is not one of the available choices"),
    ],
)
def test_what_is_wrong_stands_beside_the_field(
    alice: User, bob: User, charlie: User, given: dict[str, str], objection: str
) -> None:
    response = signed_in(alice).post(PAGE + "add/", {"role": "viewer", **given})
    assert response.status_code == 200
    assert objection in text_of(response.content)
    assert Member.objects.filter(tenant__name="films").count() == 2


def test_a_role_counts_from_the_next_click_on(alice: User, victor: User) -> None:
    owner, viewer = signed_in(alice), signed_in(victor)
    assert viewer.get("/t/films/keys/").status_code == 403
    assert "victor is owner of films" in text_of(
        owner.post(PAGE + "victor/role/", {"role": "owner"}, follow=True).content
    )
    assert viewer.get("/t/films/keys/").status_code == 200


def test_who_is_let_go_sees_nothing_any_more(alice: User, bob: User) -> None:
    client = signed_in(bob)
    signed_in(alice).post(PAGE + "bob/remove/")
    assert client.get(PAGE).status_code == 404
    assert role_of("bob") is None


def test_the_last_owner_is_told_why_there_is_no_button_and_is_refused(alice: User, bob: User) -> None:
    client = signed_in(alice)
    assert "last owner: make somebody else owner first" in text_of(client.get(PAGE).content)
    assert "alice/remove/" not in client.get(PAGE).content.decode()
    refused = client.post(PAGE + "alice/remove/", headers={"Referer": f"http://testserver{PAGE}"}, follow=True)
    assert "alice is the last owner of films. Make somebody else owner first." in text_of(refused.content)
    client.post(PAGE + "alice/role/", {"role": "viewer"})
    assert role_of("alice") == "owner"


def test_with_two_owners_each_may_go(alice: User, bob: User) -> None:
    client = signed_in(alice)
    client.post(PAGE + "bob/role/", {"role": "owner"})
    assert client.post(PAGE + "alice/remove/")["Location"] == "/"
    assert client.get(PAGE).status_code == 404


def test_an_administrator_takes_in_the_first_owner(dana: User, films: Tenant) -> None:
    Member.objects.all().delete()
    client = signed_in(dana)
    assert "Nobody yet. Take in an owner first" in text_of(client.get(PAGE).content)
    make_user("erin")
    client.post(PAGE + "add/", {"username": "erin", "role": "owner"})
    assert role_of("erin") == "owner"


def test_names_are_text_and_never_markup(alice: User, films: Tenant) -> None:
    make_user("o'neil<script>")
    Member.objects.create(tenant=films, user=User.objects.get(username="o'neil<script>"), role="viewer")
    assert "<script>" not in signed_in(alice).get(PAGE).content.decode().replace("<script src=", "")


def test_of_a_large_team_the_rest_is_told_of_and_owners_count_all(
    alice: User, bob: User, films: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_member(films, make_user("zoe"), "owner")
    monkeypatch.setattr(members_page, "PEOPLE_SHOWN_MAX", 1)
    text = text_of(signed_in(alice).get(PAGE).content)
    assert "2 more, of names that come later: recall member list --tenant films tells all." in text
    assert "last owner" not in text
    monkeypatch.setattr(members_page, "PEOPLE_SHOWN_MAX", 3)
    assert "names that come later" not in text_of(signed_in(alice).get(PAGE).content)
