"""The pages in a real browser: nothing is refused by the policy, nothing keeps people from reading them, keys work.

RECALL_TEST_SHOTS=FOLDER keeps a picture of every page, light, dark and at the width of a phone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from alerts.actions import alert_raise
from alerts.states import Severity
from catalog.actions.drafts import draft_create
from catalog.intents import Intent
from catalog.models import Draft, Service
from tenants.actions import key_create, quota_update
from tenants.models import Tenant
from tests.console.browser import DESK, PHONE, launch, visit
from tests.console.series import write_series
from tests.factories import TESTER, make_service
from tests.support.history import activated, held, made_version, refreshed
from tests.support.history import asked as build_asked
from tests.support.traffic import asked, calls
from versions.models import Activation, Replica, Version
from workers import drafts

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESK, "color_scheme": "light"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "is_mobile": True, "has_touch": True},
}
PAGES = {
    "home": "/",
    "search": "/search/?q=ov",
    "alerts": "/alerts/",
    "service": "/t/films/s/movies/",
    "empty-service": "/t/films/s/shows/",
    "build": "/t/films/s/movies/builds/2/",
    "held-build": "/t/films/s/movies/builds/3/",
    "version": "/t/films/s/movies/versions/2/",
    "keys": "/t/films/keys/",
    "members": "/t/films/members/",
    "quota": "/t/films/quota/",
    "account": "/account/",
    "password": "/account/password/",
    "audit": "/t/films/audit/",
    "new-service": "/t/films/services/new/",
    "draft-intent": "/t/films/services/new/series/intent/",
    "draft-schema": "/t/films/services/new/series/schema/",
    "draft-check": "/t/films/services/new/series/check/",
    "draft-review": "/t/films/services/new/series/review/",
    "draft-waiting": "/t/films/services/new/waiting/schema/",
    "draft-unreadable": "/t/films/services/new/later/schema/",
    "not-found": "/t/films/s/nothing/",
}
PAGES_OF_ADMINISTRATORS = {"operations": "/operations/", "quota-change": "/t/films/quota/"}
CURVE = [{"ef": 10 * 2**n, "recall": 1 - 0.2 / 2**n, "ms": 0.05 * 1.6**n} for n in range(7)]
TUNE = {"at": 10, "queries": 200, "asked": "of the drop's own items", "tuned": True, "reached": True,
        "recall_target": 0.98, "effort": "ef", "search_params": {"ef": 160}, "curve": CURVE}  # fmt: skip
# Where the keyboard is: whether it shows, and its place in the order in which the page is read.
STOP = """() => {
  const stop = document.activeElement, look = getComputedStyle(stop);
  return {
    text: stop.textContent.trim().slice(0, 80),
    inside: stop.closest("#content") !== null,
    seen: look.boxShadow !== "none" || (look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0),
    place: [...document.querySelectorAll("*")].indexOf(stop),
  };
}"""
STOPS_MAX = 60
SERIOUS = ("serious", "critical")
# A dark page differs in its colours and a narrow one in none of what axe-core looks at.
AXE_RULES: dict[str, dict[str, Any] | None] = {
    "light": {},
    "dark": {"runOnly": ["color-contrast"]},
    "phone": None,
}


@dataclass
class Stage:
    alice: User
    dana: User
    server: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Playwright's loop runs in this thread while a test talks to the database, which Django would refuse.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def wizard(films: Tenant, tmp_path: Path, settings: Any) -> None:
    """A draft whose source was read, one whose source has nothing yet, and one that waits for a worker."""
    settings.RECALL_DROPS = tmp_path
    write_series(tmp_path)
    for token, folder in (("series", "series"), ("later", "later"), ("waiting", "series")):
        intent = Intent(name=token, uri=f"file:{folder}/", dimension=8)
        draft = draft_create(actor=TESTER, tenant=films, intent=intent)
        if token != "waiting":
            drafts.read(draft.pk)
        Draft.objects.filter(pk=draft.pk).update(token=token)


@pytest.fixture
def stage(live_server: LiveServer, alice: User, bob: User, dana: User, films: Tenant, films_service: Service) -> Stage:
    """A team with a service in everyday trouble, and one that was never built."""
    make_service(films, "shows")
    activated(made_version(films_service, items=1_250_000))
    for spans_ago in range(300, 40, -1):
        busy = calls(900 + spans_ago, codes={"OK": 880 + spans_ago, "UNAVAILABLE": 20 if spans_ago % 50 < 4 else 0})
        asked(films_service, busy, spans_ago=spans_ago)
    activated(
        made_version(films_service, items=1_260_000, report={"tune": TUNE, "items": {"id_overlap_percent": 99.1}})
    )
    for number, minutes in ((1, 300), (2, 7)):
        then = timezone.now() - timedelta(minutes=minutes)
        Activation.objects.filter(to_version=number).update(at=then)
        Version.objects.filter(number=number).update(created_at=then, completed_at=then)
    Replica.objects.update(rss_bytes=900_000_000)
    for spans_ago in range(40, 0, -1):
        asked(films_service, calls(1000, seconds=0.004), spans_ago=spans_ago, with_idle=True)
    held(build_asked(refreshed(films_service), force=True))
    alert_raise(service=films_service, reason="replica.slow", message="r2 on node local answers slowly: p99 41 ms.",
                severity=Severity.CRITICAL, evidence={"p99_ms": 41})  # fmt: skip
    alert_raise(service=films_service, reason="drop.late", message="No drop came for 26 h.", severity=Severity.WARNING)
    key_create(actor=TESTER, tenant=films, name="ranker", scope="read")
    quota_update(actor=TESTER, tenant=films, items_max=1_500_000)
    return Stage(alice, dana, live_server.url)


@pytest.mark.usefixtures("wizard")
@pytest.mark.parametrize("look", LOOKS)
def test_every_page_obeys_the_policy_and_can_be_used_by_everybody(browser: Browser, stage: Stage, look: str) -> None:
    faults: list[str] = []
    for user, pages in ((stage.alice, PAGES), (stage.dana, PAGES_OF_ADMINISTRATORS)):
        with visit(browser, stage.server, user, **LOOKS[look]) as window:
            for name, path in pages.items():
                page = window.go(path)
                if page.locator("[data-traffic], [data-curve]").count():
                    page.locator("canvas, .chart .muted").first.wait_for()
                keep(page, f"{name}-{look}")
                faults += [f"{name}: {barrier}" for barrier in barriers(page, AXE_RULES[look])]
                if page.evaluate("document.documentElement.scrollWidth") > LOOKS[look]["viewport"]["width"]:
                    faults.append(f"{name}: wider than the window")
            faults += [complaint for complaint in window.complaints if "404" not in complaint]
    assert not faults, "\n".join(faults)


def test_signing_in_and_out_by_keyboard(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server) as window:
        page = window.go("/")
        keep(page, "login-light")
        page.keyboard.type("alice")
        page.keyboard.press("Tab")
        page.keyboard.type("correct horse battery")
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="movies", exact=True)).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert window.complaints == []


@pytest.mark.parametrize("name", ["members", "quota", "account", "password", "home"])
def test_the_keyboard_leads_past_the_frame_and_every_stop_can_be_seen(
    browser: Browser, stage: Stage, name: str
) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go(PAGES[name])
        page.keyboard.press("Tab")
        assert page.evaluate(STOP)["text"] == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        stops = [page.evaluate(STOP)]
        while stops[-1]["inside"] and len(stops) < STOPS_MAX:
            page.keyboard.press("Tab")
            stops.append(page.evaluate(STOP))
        inside = [stop for stop in stops if stop["inside"]]
        assert inside
        assert [stop for stop in inside if not stop["seen"]] == []
        places = [stop["place"] for stop in inside]
        assert places == sorted(places)


def test_a_slash_leads_to_any_service(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/alerts/")
        page.keyboard.press("/")
        page.keyboard.type("mov")
        expect(page.locator("#found a")).to_have_count(1)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("/t/films/s/movies/$"))
        assert window.complaints == []


def test_colours_follow_the_system_until_somebody_chooses(browser: Browser, stage: Stage) -> None:
    def theme() -> str | None:
        return page.locator("html").get_attribute("data-bs-theme")

    with visit(browser, stage.server, stage.alice, color_scheme="dark") as window:
        page = window.go("/")
        assert theme() == "dark"
        page.get_by_role("button", name="Colours").click()
        assert theme() == "light"
        window.go("/alerts/")
        assert theme() == "light"


def test_charts_draw_what_was_asked_with_each_switch(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/t/films/s/movies/")
        expect(page.locator("#traffic canvas")).to_have_count(5)
        with page.expect_response(lambda answer: "hours=24" in answer.url) as asked_for:
            page.get_by_role("button", name="24 h").click()
        told = asked_for.value.json()
        assert max(told["queries_per_second"]) > 50
        assert [switch["to_version"] for switch in told["switches"]] == [1, 2]
        page = window.go("/t/films/s/movies/versions/2/")
        expect(page.locator("#curve canvas")).to_have_count(1)
        assert window.complaints == []


def test_nobody_is_asked_while_the_page_is_hidden(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        window.page.clock.install()
        page = window.go("/t/films/s/movies/")
        expect(page.locator("#traffic canvas")).to_have_count(5)
        polls: list[str] = []
        page.on("request", lambda request: polls.append(request.url))
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.clock.run_for(60_000)
        assert polls == []
        page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
        page.clock.run_for(10_000)
        assert any("/traffic/" in url for url in polls)


def test_pages_can_be_read_without_javascript(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice, java_script_enabled=False) as window:
        page = window.go("/")
        expect(page.get_by_role("link", name="movies", exact=True)).to_be_visible()
        page = window.go("/t/films/s/movies/")
        page.get_by_text("The last hour as a table").click()
        table = page.get_by_role("group", name="Traffic of the last hour")
        expect(table.get_by_role("row")).to_have_count(14)
        expect(table).to_contain_text("UTC")


def barriers(page: Page, rules: dict[str, Any] | None) -> list[str]:
    """What axe-core finds that keeps people from using the page, and where."""
    if rules is None:
        return []
    found = [each for each in Axe().run(page, options=rules).response["violations"] if each["impact"] in SERIOUS]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"][:3]]


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("RECALL_TEST_SHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)
