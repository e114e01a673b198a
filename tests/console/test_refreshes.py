"""Parts that refresh themselves, and panels that lie above the page: nothing that somebody reads or types is lost."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from catalog.models import Service
from tests.console.browser import PHONE, visit
from tests.console.test_browser import AXE_RULES, CURVE, LOOKS, PAGES, TUNE, Stage, barriers, browser, keep, stage
from tests.support.history import asked as build_asked
from tests.support.history import claimed, refreshed
from tests.versions.test_comparisons import done
from versions import actions
from versions.models import Build, VersionComparison

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

__all__ = ["browser", "stage"]


@pytest.mark.parametrize("look", ["light", "phone"])
def test_a_panel_of_a_table_lies_within_the_window_and_closes_by_a_press_beside_it(
    browser: Browser, stage: Stage, look: str
) -> None:
    with visit(browser, stage.server, stage.alice, **LOOKS[look]) as window:
        page = window.go("/t/films/s/movies/")
        row = page.locator("tr", has_text="Roll back").first
        before = row.bounding_box()
        page.locator("summary", has_text="Roll back").click()
        panel = page.locator("details.confirm[open] > form")
        expect(panel.get_by_role("button", name="Roll back to version")).to_be_visible()
        box, size = panel.bounding_box(), page.viewport_size
        assert box is not None
        assert size is not None
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= size["width"]
        assert box["y"] + box["height"] <= size["height"]
        after = row.bounding_box()
        assert before is not None
        assert after is not None
        assert after["height"] == before["height"]
        keep(page, f"panel-{look}")
        assert barriers(page, AXE_RULES[look]) == []
        page.mouse.click(3, 3)
        expect(panel).to_be_hidden()
        page.locator("summary", has_text="Roll back").click()
        page.keyboard.press("Escape")
        expect(panel).to_be_hidden()
        expect(page.locator("summary", has_text="Roll back")).to_be_focused()
        assert window.complaints == []


def test_a_page_shows_what_a_worker_found_meanwhile_and_asks_no_more(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/t/films/s/movies/versions/3/compare/2/")
        expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        done(VersionComparison.objects.get(version__number=3))
        expect(page.get_by_role("heading", name="Answers to the same queries")).to_be_visible()
        polls: list[str] = []
        page.on("request", lambda request: polls.append(request.url))
        page.wait_for_timeout(1_500)
        assert (polls, window.complaints) == ([], [])


def test_a_curve_outlives_the_refreshes_of_a_build_page_and_changes_with_its_figures(
    browser: Browser, stage: Stage, films_service: Service
) -> None:
    running = build_asked(refreshed(films_service), force=True)
    claimed(running)
    measured = Build.objects.filter(pk=running.pk)
    measured.update(report={"tune": {**TUNE, "curve": CURVE[:3]}})

    def refresh() -> None:
        with page.expect_response(lambda answer: "/progress/" in answer.url):
            pass

    with visit(browser, stage.server, stage.alice) as window:
        page = window.go(f"/t/films/s/movies/builds/{running.number}/")
        canvas = page.locator("#curve canvas")
        canvas.evaluate("element => { element.dataset.first = 'yes'; }")
        refresh()
        refresh()
        expect(canvas).to_have_attribute("data-first", "yes")
        measured.update(report={"tune": TUNE})
        expect(canvas).not_to_have_attribute("data-first", "yes")
        expect(page.locator("#efforts tbody tr")).to_have_count(len(CURVE))
        assert window.complaints == []


def test_a_refresh_takes_nothing_that_somebody_reads_or_types(
    browser: Browser, stage: Stage, films_service: Service
) -> None:
    """A running build: what is open stays open, the log where it was, the keyboard where it was."""
    running = build_asked(refreshed(films_service), force=True)
    claim = claimed(running)
    actions.step_start(claim, "build_index")
    for line in range(80):
        actions.build_say(claim, "build_index", f"line {line}")
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go(f"/t/films/s/movies/builds/{running.number}/?log=all")
        page.locator(".log").evaluate("log => { log.scrollTop = 200; }")
        page.locator(".log").focus()
        for _ in range(2):
            with page.expect_response(lambda answer: "/progress/" in answer.url):
                pass
        page.wait_for_timeout(200)
        assert page.locator(".log").evaluate("log => log.scrollTop") == 200
        expect(page.locator(".log")).to_be_focused()
        assert window.complaints == []


def test_a_held_build_keeps_the_reason_that_is_typed_and_the_evidence_that_is_open(
    browser: Browser, stage: Stage
) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        window.page.clock.install()
        page = window.go(PAGES["held-build"])
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.locator("details:not(.confirm) > summary").first.click()
        with page.expect_response(lambda answer: "/progress/" in answer.url):
            page.clock.run_for(6_000)
        expect(page.locator("details:not(.confirm)").first).to_have_attribute("open", "")
        page.get_by_label("Reason for going on").fill("recall is fine")
        page.locator("h1").click()
        asked.clear()
        page.clock.run_for(12_000)
        expect(page.get_by_label("Reason for going on")).to_have_value("recall is fine")
        assert asked == []


def test_what_is_asked_and_not_answered_is_told_until_it_is(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/t/films/s/trailers/builds/2/")
        page.route("**/progress/**", lambda route: route.fulfill(status=502, body="away"))
        expect(page.locator("#trouble")).to_contain_text("The console answered with an error (502)")
        page.unroute("**/progress/**")
        expect(page.locator("#trouble")).to_be_empty()
        expect(page.locator("#told")).to_contain_text("Build 2 is running, at build_index.")


def test_the_keyboard_stays_in_a_panel(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/t/films/s/movies/")
        page.locator("summary", has_text="Roll back").click()
        for _ in range(12):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.closest('details.confirm[open]') !== null")


def test_a_window_that_becomes_narrow_is_not_left_too_wide(browser: Browser, stage: Stage) -> None:
    """Charts are drawn anew a moment later; until then they hang over, and must not widen the page."""
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/t/films/s/movies/")
        page.locator("[data-traffic] canvas").first.wait_for()
        page.locator("summary", has_text="Roll back").click()
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_nobody_is_asked_while_the_page_is_hidden(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        window.page.clock.install()
        page = window.go("/t/films/s/movies/")
        expect(page.locator("#traffic canvas")).to_have_count(6)
        polls: list[str] = []
        page.on("request", lambda request: polls.append(request.url))
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.clock.run_for(60_000)
        assert polls == []
        page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
        page.clock.run_for(10_000)
        assert any("/traffic/" in url for url in polls)
