"""Alerts as people meet them: what is wrong now, what was, and who looks after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerts.actions import alert_acknowledge, alert_raise, alert_resolve
from alerts.models import Alert
from alerts.states import Severity
from catalog.models import Service
from common.actor import Actor
from console.views import alerts as alerts_page
from console.views import home
from tests.console.test_home import text_of
from tests.console.test_pages import signed_in
from tests.factories import make_service, make_tenant

BOB = Actor(kind="user", name="bob")


@pytest.fixture
def raised(films_service: Service) -> None:
    """One that is over after 90 minutes, one that Bob looks after, one critical one that nobody does."""
    alert_raise(service=films_service, reason="drop.late", message="Nothing came.")
    Alert.objects.update(opened_at=timezone.now() - timedelta(minutes=90))
    alert_resolve(service=films_service, reason="drop.late")
    alert_acknowledge(actor=BOB, alert=alert_raise(service=films_service, reason="version.skew", message="It differs."))
    shows = make_service(films_service.tenant, "shows")
    alert_raise(service=shows, reason="replica.wrong", message="It lies.", severity=Severity.CRITICAL)


def reasons(page: bytes) -> set[str]:
    text = text_of(page)
    return {reason for reason in ("drop.late", "version.skew", "replica.wrong") if reason in text}


def test_it_says_who_looks_after_it_and_how_long_it_lasted(victor: User, raised: None) -> None:
    text = text_of(signed_in(victor).get("/alerts/").content)
    assert "bob looks after it since 2" in text
    assert "over after 1 h 30 min" in text


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", {"drop.late", "version.skew", "replica.wrong"}),
        ("state=RESOLVED", {"drop.late"}),
        ("state=OPEN", {"replica.wrong"}),
        ("state=ACKNOWLEDGED", {"version.skew"}),
        ("severity=critical", {"replica.wrong"}),
        ("service=movies", {"drop.late", "version.skew"}),
        ("service=movies&state=OPEN", set()),
        ("team=films&severity=warning", {"drop.late", "version.skew"}),
        # What is no filter filters nothing.
        ("state=BROKEN&severity=%00&service=%00", {"drop.late", "version.skew", "replica.wrong"}),
    ],
)
def test_filters_narrow_it(alice: User, raised: None, wanted: str, found: set[str]) -> None:
    assert reasons(signed_in(alice).get(f"/alerts/?{wanted}").content) == found


def test_who_acknowledges_comes_back_to_the_same_filter_and_nowhere_else(bob: User, raised: None) -> None:
    client = signed_in(bob)
    filtered = "/alerts/?severity=critical"
    assert f'name="back" value="{filtered}"' in client.get(filtered).content.decode()
    assert client.post("/t/films/alerts/3/acknowledge/", {"back": filtered})["Location"] == filtered
    away = client.post("/t/films/alerts/3/acknowledge/", {"back": "https://elsewhere.example/"})
    assert away["Location"] == "/alerts/"
    assert Alert.objects.get(number=3).acknowledged_by == "bob"


def test_a_viewer_has_no_button(victor: User, raised: None) -> None:
    page = signed_in(victor).get("/alerts/").content.decode()
    assert "acknowledge/" not in page
    assert "recall alerts ack" not in page


def test_another_teams_alerts_are_not_there(charlie: User, books_service: object, raised: None) -> None:
    client = signed_in(charlie)
    assert reasons(client.get("/alerts/?service=movies").content) == set()
    assert client.get("/alerts/?team=films").status_code == 404


def test_the_newest_of_each_team_are_shown_and_more_are_told_of(
    victor: User, raised: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts_page, "UNRESOLVED_SHOWN_MAX", 1)
    page = signed_in(victor).get("/alerts/").content
    assert reasons(page) == {"replica.wrong", "drop.late"}
    assert "Now the newest 1; a filter finds others" in text_of(page)
    assert "Over the newest" not in text_of(page)


def test_many_teams_cost_no_query_each(
    alice: User, raised: None, django_assert_max_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    client = signed_in(alice)
    with CaptureQueriesContext(connection) as alone:
        client.get("/alerts/")
    for name in ("art", "music", "news", "sport"):
        service = make_service(make_tenant(name, owner=alice), "shows")
        alert_raise(service=service, reason="replica.wrong", message=f"It lies to {name}.")
    with django_assert_max_num_queries(len(alone)):
        text = text_of(client.get("/alerts/").content)
    assert [name for name in ("art", "music", "news", "sport") if f"It lies to {name}." not in text] == []


def test_trouble_of_a_team_that_is_left_out_of_the_page_stands_first_and_on_home(
    dana: User, films_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = make_service(make_tenant("zoo"), "shows")
    alert_raise(service=zoo, reason="replica.wrong", message="It lies.", severity=Severity.CRITICAL)
    monkeypatch.setattr(alerts_page, "TENANTS_ON_HOME_MAX", 1)
    monkeypatch.setattr(home, "TENANTS_ON_HOME_MAX", 1)
    client = signed_in(dana)
    text = text_of(client.get("/alerts/").content)
    assert "It lies." in text
    assert "More teams than these are yours" in text
    assert "It lies." in text_of(client.get("/").content)
    monkeypatch.setattr(alerts_page, "TEAMS_TO_CHOOSE_MAX", 1)
    assert "<option selected>zoo</option>" in client.get("/alerts/?team=zoo").content.decode()
