"""The projection of a version's items in a real browser: pointing at an item, by mouse, finger and keys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.api.gateway import RunningGateway
from tests.console.browser import DESK, PHONE, visit
from tests.console.test_browser import AXE_RULES, barriers, browser, keep
from tests.support.artifacts import exact_ids
from versions.models import Projection

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

__all__ = ["browser"]

PAGE = "/t/films/s/movies/versions/1/"
# As static/console/projections.js lays it out.
MARGIN = 18
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESK},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}


def pixel_of(page: Page, item: str) -> dict[str, float]:
    """Where an item of the sample is drawn, from the upper left corner of the canvas."""
    sample = Projection.objects.get().sample
    box = page.locator(".projection canvas").last.bounding_box()
    assert box is not None
    left, right, low, high = min(sample["x"]), max(sample["x"]), min(sample["y"]), max(sample["y"])
    scale = min((box["width"] - 2 * MARGIN) / (right - left), (box["height"] - 2 * MARGIN) / (high - low))
    place = sample["ids"].index(item)
    x = box["width"] / 2 + (sample["x"][place] - (left + right) / 2) * scale
    y = box["height"] / 2 - (sample["y"][place] - (low + high) / 2) * scale
    return {"x": x, "y": y}


def outermost(axis: str = "x") -> str:
    """An item with nobody beyond it, so that a click on it is meant for it."""
    sample = Projection.objects.get().sample
    item: str = sample["ids"][max(range(sample["items"]), key=lambda place: sample[axis][place])]
    return item


def neighbours_of(projected_gateway: RunningGateway, item: str) -> list[str]:
    made, row = projected_gateway.made, projected_gateway.made.ids.index(int(item))
    found, _ = exact_ids(made, made.vectors[row], 10, exclude=[made.ids[row]])
    return [str(each) for each in found]


def shown(page: Page) -> list[str | None]:
    return [row.get_attribute("data-neighbour") for row in page.locator("#neighbours-table tbody tr").all()]


@pytest.mark.parametrize("look", LOOKS)
def test_a_click_on_a_point_shows_its_neighbours(
    browser: Browser, live_server: LiveServer, victor: User, projected_gateway: RunningGateway, look: str
) -> None:
    with visit(browser, live_server.url, victor, **LOOKS[look]) as window:
        page = window.go(PAGE)
        canvas = page.locator(".projection canvas[role=application]")
        canvas.scroll_into_view_if_needed()
        item = outermost()
        before = canvas.evaluate("element => element.toDataURL()")
        point = canvas.tap if look == "phone" else canvas.click
        point(position=pixel_of(page, item))
        expect(page.get_by_role("heading", name=f"Nearest to {item}")).to_be_visible()
        assert shown(page) == neighbours_of(projected_gateway, item)
        assert canvas.evaluate("element => element.toDataURL()") != before
        keep(page, f"projection-{look}")
        assert barriers(page, AXE_RULES[look]) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= LOOKS[look]["viewport"]["width"]
        second = shown(page)[0]
        page.locator("#neighbours-table a").first.click()
        expect(page.get_by_role("heading", name=f"Nearest to {second}")).to_be_visible()
        expect(page).to_have_url(re.compile(f"{PAGE}$"))
        assert window.complaints == []


def test_arrows_walk_over_the_items_and_enter_asks(
    browser: Browser, live_server: LiveServer, victor: User, projected_gateway: RunningGateway
) -> None:
    with visit(browser, live_server.url, victor) as window:
        page = window.go(PAGE)
        canvas = page.locator(".projection canvas[role=application]")
        canvas.focus()
        said = page.locator(".projection output")
        page.keyboard.press("ArrowRight")
        first = said.inner_text()
        assert re.match(r"1\d{6} · year (\d{4}|null)$", first)
        page.keyboard.press("ArrowRight")
        expect(said).not_to_have_text(first)
        item = said.inner_text().split(" ")[0]
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=f"Nearest to {item}")).to_be_visible()
        assert shown(page) == neighbours_of(projected_gateway, item)
        page.keyboard.press("Escape")
        expect(page.locator("#neighbours-table")).to_have_count(0)
        assert window.complaints == []


def test_a_gateway_that_is_away_is_told_below_the_projection(
    browser: Browser, live_server: LiveServer, victor: User, projected_gateway: RunningGateway, settings: Any
) -> None:
    settings.GATEWAY_ADDRESS = "127.0.0.1:9"
    with visit(browser, live_server.url, victor) as window:
        page = window.go(PAGE)
        canvas = page.locator(".projection canvas[role=application]")
        canvas.scroll_into_view_if_needed()
        canvas.click(position=pixel_of(page, outermost()))
        expect(page.locator("#neighbours [role=alert]")).to_contain_text("The gateway does not answer.")


def test_without_a_script_the_table_leads_to_the_neighbours(
    browser: Browser, live_server: LiveServer, victor: User, projected_gateway: RunningGateway
) -> None:
    with visit(browser, live_server.url, victor, java_script_enabled=False) as window:
        page = window.go(PAGE)
        expect(page.locator("noscript p")).to_be_visible()
        page.get_by_text("Some of these items as a table").click()
        link = page.get_by_role("group", name="Some of these items").get_by_role("link").first
        item = link.inner_text()
        link.click()
        expect(page.get_by_role("heading", name="Neighbours in version 1")).to_be_visible()
        assert shown(page) == neighbours_of(projected_gateway, item)
        keep(page, "neighbours-light")
