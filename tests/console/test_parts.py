"""Parts of a page that refresh themselves: what they hear when there is nothing to see any more."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from catalog.models import Service
from tenants.models import Member, Tenant
from tests.console.test_home import text_of
from tests.console.test_pages import signed_in
from tests.support.history import activated, asked, made_version, refreshed

PAGE = "/t/films/s/movies/"
STATUS = f"{PAGE}status/"
ASKED_AGAIN = {"HX-Request": "true", "HX-Trigger": "status", "HX-Current-URL": f"http://testserver{PAGE}?x=1"}


def test_without_a_session_the_whole_page_goes_to_the_sign_in_and_comes_back(films_service: Service) -> None:
    answer = Client().get(STATUS, headers=ASKED_AGAIN)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["HX-Redirect"] == "/login/?next=%2Ft%2Ffilms%2Fs%2Fmovies%2F%3Fx%3D1"
    assert Client().get(STATUS).headers["Location"] == "/login/?next=%2Ft%2Ffilms%2Fs%2Fmovies%2Fstatus%2F"


def test_nobody_is_led_to_another_site(films_service: Service) -> None:
    elsewhere = {**ASKED_AGAIN, "HX-Current-URL": "https://evil.example//evil.example/"}
    answer = Client().get(STATUS, headers=elsewhere)
    assert answer.headers["HX-Redirect"] == "/login/?next=%2F"


@pytest.mark.parametrize("part", ["status", "progress"])
def test_who_may_not_look_any_more_is_told_in_its_place_and_it_asks_no_more(
    victor: User, films: Tenant, films_service: Service, part: str
) -> None:
    build = asked(films_service)
    path = {"status": STATUS, "progress": f"{PAGE}builds/{build.number}/progress/"}[part]
    client = signed_in(victor)
    assert client.get(path, headers={**ASKED_AGAIN, "HX-Trigger": part}).status_code == 200
    Member.objects.filter(tenant=films, user=victor).delete()
    answer = client.get(path, headers={**ASKED_AGAIN, "HX-Trigger": part})
    assert answer.status_code == 286
    assert b'role="alert"' in answer.content
    assert b"<html" not in answer.content
    assert client.get(path).status_code == 404


def test_what_was_told_beside_another_live_version_is_not_done(bob: User, films_service: Service) -> None:
    activated(made_version(films_service))
    for _ in range(2):
        made_version(refreshed(films_service))
    client, seen = signed_in(bob), refreshed(films_service).live_generation
    assert f'name="live_generation" value="{seen}"' in client.get(PAGE).content.decode()
    answer = client.post(f"{PAGE}versions/2/activate/", {"live_generation": seen}, follow=True)
    assert "Version 2 is live." in text_of(answer.content)
    late = client.post(f"{PAGE}versions/3/activate/", {"live_generation": seen}, follow=True)
    assert "Version 3 is live." not in text_of(late.content)
    assert refreshed(films_service).live_version == 2


@pytest.mark.parametrize(
    "typed",
    [
        {"vector": "[" * 20_000},
        {"vector": "9" * 400},
        {"vector": "1, true"},
        {"vector": "1, 2\n3, 4"},
        {"item": "--5"},
        {"item": "\u00b2"},
        {"item": "9" * 30},
    ],
)
def test_what_is_no_vector_and_no_item_is_told_and_nothing_breaks(
    alice: User, films_service: Service, typed: dict[str, str]
) -> None:
    activated(made_version(films_service))
    answer = signed_in(alice).post(f"{PAGE}query/", typed, headers={"HX-Request": "true"})
    field = next(iter(typed))
    assert f"Field: {field}" in text_of(answer.content)
