"""The projection of a version's items: what its page says without a script, and who its neighbours are."""

from __future__ import annotations

import html

import numpy as np
import pytest
from django.contrib.auth.models import User

from catalog.models import Service
from tests.api.gateway import IDS_PER_VERSION, RunningGateway, year_of
from tests.console.test_pages import signed_in
from tests.support.artifacts import exact_ids
from tests.support.history import activated, made_version, refreshed
from versions import actions
from versions.models import Projection, Version

PAGE = "/t/films/s/movies/versions/1/"
SAMPLE = {
    "items": 2, "of": 1_000_000, "shown": [0.3, 0.1], "ids": ["17", "9007199254740993"], "x": [-1.0, 1.0],
    "y": [0.1, -0.1], "attributes": [{"name": "genre", "values": [["noir", "drama"], None]}],
}  # fmt: skip
PLANE = {"mean": [0.0] * 4, "axes": [[1.0, 0, 0, 0], [0, 1.0, 0, 0]], "reach": 1.0}


@pytest.fixture
def projected(films_service: Service) -> Version:
    version = activated(made_version(films_service))
    Projection.objects.create(version=version, sample=SAMPLE, plane=PLANE)
    return version


def text_of(user: User, path: str) -> str:
    return " ".join(html.unescape(signed_in(user).get(path).content.decode()).split())


def test_the_page_says_what_the_projection_shows_and_has_its_items_as_a_table(victor: User, projected: Version) -> None:
    page = text_of(victor, PAGE)
    assert "2 of 1,000,000 items, a random sample" in page
    assert "a linear view that shows 40 % of the variance: items that lie on each other here may be far apart" in page
    assert "<noscript><p>The projection is drawn by a script; the table below has some of its items" in page
    assert f'<a href="{PAGE}neighbours/?item=9007199254740993"><code>9007199254740993</code></a>' in page
    assert '<td>noir, drama</td></tr><tr><td><a href="' in page
    assert '<td><span class="muted">null</span></td>' in page


def test_the_script_is_given_the_sample(victor: User, projected: Version) -> None:
    assert f'data-projection="{PAGE}projection/"' in text_of(victor, PAGE)
    answer = signed_in(victor).get(f"{PAGE}projection/")
    assert answer.json() == SAMPLE
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_version_that_is_not_loaded_offers_no_neighbours(victor: User, projected: Version) -> None:
    actions.version_unload(version=projected)
    page = text_of(victor, PAGE)
    assert "This version is not loaded, so it cannot be asked for neighbours." in page
    assert "data-neighbours" not in page
    assert "neighbours/?item=" not in page


def test_a_candidate_that_is_loaded_offers_neighbours_too(victor: User, projected: Version) -> None:
    candidate = made_version(refreshed(projected.service))
    Projection.objects.create(version=candidate, sample=SAMPLE, plane=PLANE)
    assert "neighbours/?item=" in text_of(victor, "/t/films/s/movies/versions/2/")


def test_a_version_without_a_projection_says_why(victor: User, films_service: Service) -> None:
    made_version(films_service)
    assert "This version was built before there were projections; the next build draws one." in text_of(victor, PAGE)
    assert signed_in(victor).get(f"{PAGE}projection/").status_code == 404
    made_version(films_service, report={"projection": {"note": "The projection of the items could not be made: full."}})
    assert "could not be made: full." in text_of(victor, "/t/films/s/movies/versions/2/")


@pytest.mark.parametrize("item", ["", "abc", "1.5", "9" * 20, "١٢"])
def test_what_cannot_be_an_id_is_not_asked_for(victor: User, projected: Version, item: str) -> None:
    answer = signed_in(victor).get(f"{PAGE}neighbours/", {"item": item}, headers={"HX-Request": "true"})
    assert b"by its id" in answer.content or b"whole numbers" in answer.content


def neighbours_of(gateway: RunningGateway, row: int) -> list[int]:
    """By exact search; an item is not its own neighbour."""
    made = gateway.made
    found, _ = exact_ids(made, made.vectors[row], 10, exclude=[made.ids[row]])
    return list(found)


@pytest.mark.servers
def test_neighbours_are_those_of_exact_search_with_attributes_and_their_places(
    victor: User, projected_gateway: RunningGateway
) -> None:
    made, row = projected_gateway.made, 5
    answer = signed_in(victor).get(f"{PAGE}neighbours/", {"item": made.ids[row]}, headers={"HX-Request": "true"})
    expected = neighbours_of(projected_gateway, row)
    rows = answer.context["rows"]
    assert [int(each["id"]) for each in rows] == expected
    assert [each["attributes"] for each in rows] == [
        [None if (year := year_of(made.ids.index(item))) is None else str(year)] for item in expected
    ]
    sample = Projection.objects.get().sample
    for each in rows:
        place = sample["ids"].index(each["id"])
        assert each["place"] == pytest.approx([sample["x"][place], sample["y"][place]], abs=1e-4)
    assert "<html" not in answer.content.decode()


@pytest.mark.servers
def test_without_a_script_neighbours_are_a_page_and_lead_on(victor: User, projected_gateway: RunningGateway) -> None:
    item = projected_gateway.made.ids[5]
    page = text_of(victor, f"{PAGE}neighbours/?item={item}")
    assert "<html" in page
    for near in neighbours_of(projected_gateway, 5):
        assert f'<a href="{PAGE}neighbours/?item={near}">' in page
    assert f"recall query films/movies --items {item} -k 10 --require-version 1" in page


@pytest.mark.servers
def test_an_item_or_a_version_that_is_not_there_is_told(victor: User, projected_gateway: RunningGateway) -> None:
    unknown = signed_in(victor).get(f"{PAGE}neighbours/", {"item": 7}, headers={"HX-Request": "true"})
    assert b'role="alert"' in unknown.content
    activated(made_version(refreshed(Service.objects.get(name="movies"))))
    second = "/t/films/s/movies/versions/2/neighbours/"
    answer = signed_in(victor).get(second, {"item": 2 * IDS_PER_VERSION}, headers={"HX-Request": "true"})
    assert b"version 2 is not loaded" in answer.content
    projected_gateway.publish(versions=(2, 1))
    answer = signed_in(victor).get(second, {"item": 2 * IDS_PER_VERSION}, headers={"HX-Request": "true"})
    expected, _ = exact_ids(
        projected_gateway.newer, projected_gateway.newer.vectors[0], 10, exclude=[2 * IDS_PER_VERSION]
    )
    assert [int(each["id"]) for each in answer.context["rows"]] == expected
    # This version has no projection on which they would lie.
    assert {each["place"] for each in answer.context["rows"]} == {None}
    assert np.isfinite([each["score"] for each in answer.context["rows"]]).all()
