"""Alerts and webhook secrets over REST."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from alerts.actions import alert_raise, alert_resolve
from audit.selectors import events_of
from catalog.models import Service
from tenants.models import Tenant
from tests.api.conftest import Caller
from tests.factories import make_service


@pytest.fixture
def raised(films: Tenant, films_service: Service, books_service: Service) -> None:
    """Three of films (the first is over, the third is of another service) and one of books."""
    series = make_service(films, "series")
    alert_raise(service=films_service, reason="drop.late", message="Nothing came.")
    alert_resolve(service=films_service, reason="drop.late")
    alert_raise(service=films_service, reason="guard.min_recall", subject="build 1", message="Too low.")
    alert_raise(service=series, reason="drop.late", message="Nothing came.", evidence={"hours": 26})
    alert_raise(service=books_service, reason="replica.wrong", message="Not yours.")


def numbers(caller: Caller, query: str = "") -> list[int]:
    answer = caller.get(f"/tenants/films/alerts{query}")
    assert answer.status == 200
    return [one["number"] for one in answer.body["alerts"]]


def test_alerts_are_listed_newest_first_by_state_and_service(owner: Caller, raised: None) -> None:
    assert numbers(owner) == [3, 2, 1]
    assert numbers(owner, "?state=OPEN") == [3, 2]
    assert numbers(owner, "?state=RESOLVED") == [1]
    assert numbers(owner, "?service=series") == [3]
    assert numbers(owner, "?service=series&state=RESOLVED") == []
    assert numbers(owner, "?service=nothing") == []


def test_a_list_goes_on_at_its_token(owner: Caller, raised: None) -> None:
    first = owner.get("/tenants/films/alerts?page_size=2").body
    second = owner.get(f"/tenants/films/alerts?page_size=2&page_token={first['next_page_token']}").body
    assert [one["number"] for one in [*first["alerts"], *second["alerts"]]] == [3, 2, 1]
    assert second["next_page_token"] == ""


def test_a_state_that_is_none_is_refused(owner: Caller, raised: None) -> None:
    answer = owner.get("/tenants/films/alerts?state=LOUD")
    assert answer.status == 400
    assert answer.error["details"][0]["field"] == "state"


@pytest.mark.parametrize("query", ["?service=%00", "?service=" + "a" * 500, "?state=OPEN%00"])
def test_odd_filters_break_nothing(owner: Caller, raised: None, query: str) -> None:
    assert owner.get(f"/tenants/films/alerts{query}").status in (200, 400)


def test_an_operator_acknowledges_and_a_second_time_changes_nothing(
    bob: User, raised: None, signed_in: Callable[[User], Caller]
) -> None:
    operator = signed_in(bob)
    done = operator.post("/tenants/films/alerts/3:acknowledge")
    again = operator.post("/tenants/films/alerts/3:acknowledge")
    assert (done.status, done.body["state"], done.body["acknowledged_by"]) == (200, "ACKNOWLEDGED", "bob")
    assert again.body == done.body
    assert [event.target for event in events_of("films") if event.verb == "alert.acknowledge"] == ["alert 3"]


def test_what_is_over_cannot_be_acknowledged(owner: Caller, raised: None) -> None:
    answer = owner.post("/tenants/films/alerts/1:acknowledge")
    assert (answer.status, answer.error["reason"]) == (409, "ALERT_RESOLVED")


def test_the_webhook_secret_is_read_back_and_rotated(owner: Caller) -> None:
    first = owner.get("/tenants/films/webhookSecret").body
    rotated = owner.post("/tenants/films/webhookSecret:rotate").body
    assert first["before"] == ""
    assert rotated["before"] == first["secret"] != rotated["secret"]
    assert owner.get("/tenants/films/webhookSecret").body == rotated


def test_a_webhook_that_is_not_allowed_names_field_and_setting(owner: Caller, films_service: Service) -> None:
    answer = owner.patch("/tenants/films/services/movies", {"notify": {"webhook": "https://hooks.example.org/"}})
    assert answer.status == 400
    [fault] = answer.error["details"]
    assert fault["field"] == "notify.webhook"
    assert "RECALL_WEBHOOK_HOSTS" in fault["message"]
