"""The pages in a real browser: nothing is refused by the policy, nothing keeps people from reading them, keys work.

A picture of every page, light, dark and at the width of a phone, is kept in RECALL_TEST_SHOTS, or in test-shots/ of the
checkout.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from alerts.actions import alert_raise, alert_resolve
from alerts.states import Severity
from catalog.actions.drafts import draft_create
from catalog.intents import Intent
from catalog.models import Draft, Service
from tenants.actions import Use, key_create, key_revoke, key_rotate, keys_used, quota_update
from tenants.models import Tenant
from tests.client.scripted import serving
from tests.console.browser import DESK, PHONE, launch, visit
from tests.console.posters import ADDRESS, answer, make_posters
from tests.console.series import write_series
from tests.factories import TESTER, make_service, make_tenant, make_user
from tests.support.history import activated, claimed, held, made_version, refreshed
from tests.support.history import asked as build_asked
from tests.support.traffic import asked, calls
from tests.versions.test_comparisons import done
from versions import actions
from versions.actions import comparison_ask
from versions.models import Activation, Build, Projection, Replica, Version
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
    "held-build": "/t/films/s/movies/builds/4/",
    "running-build": "/t/films/s/trailers/builds/2/",
    "failed-build": "/t/films/s/trailers/builds/1/",
    "version": "/t/films/s/movies/versions/2/",
    "compare": "/t/films/s/movies/versions/2/compare/1/",
    "compare-waiting": "/t/films/s/movies/versions/3/compare/1/",
    "keys": "/t/films/keys/",
    "connect": "/t/films/s/movies/connect/",
    "connect-java": "/t/films/s/movies/connect/?in=java&by=vector",
    "connect-empty": "/t/films/s/shows/connect/?in=grpcurl",
    "alerts-over": "/alerts/?state=RESOLVED",
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
    "playground": "/t/films/s/posters/playground/",
    "playground-features": "/t/films/s/posters/playground/?by=features",
    "playground-beside": "/t/films/s/posters/playground/?vector=1,2,3,4&k=5&filter=year+>+1940&beside=1&check=1",
    "playground-wrong": "/t/films/s/posters/playground/?by=items&items=1,two&filter=!",
    "not-found": "/t/films/s/nothing/",
}
PAGES_OF_ADMINISTRATORS = {"operations": "/operations/", "quota-change": "/t/films/quota/"}
PAGES_OF_NEWCOMERS = {"empty-home": "/"}
PAGES_OF_STRANGERS = {"login": "/login/"}
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
SHOTS = Path(__file__).parents[2] / "test-shots"
# Fields that say that something describes them which is not on the page.
UNDESCRIBED = """() => [...document.querySelectorAll("[aria-describedby]")]
  .filter((field) => field.getAttribute("aria-describedby").split(" ").some((id) => !document.getElementById(id)))
  .map((field) => field.outerHTML.slice(0, 120))"""
SERIOUS = ("serious", "critical")
# A dark page differs in its colours only; on a narrow one tables are laid out otherwise, and parts are hidden.
AXE_RULES: dict[str, dict[str, Any]] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}, "phone": {}}


def some_items() -> dict[str, Any]:
    """A sample in three heaps, with an attribute of each type."""
    random = np.random.default_rng(11)
    heap = random.integers(0, 3, 600)
    places = np.array([[-0.7, 0.1], [0.3, 0.4], [0.5, -0.3]])[heap] + random.normal(scale=0.13, size=(600, 2))
    genres = [["noir"], ["drama", "family"], ["comedy"], ["western"], ["war"], ["musical"], ["sport"], ["news"]]
    columns: dict[str, list[Any]] = {
        "genre": [None if n % 11 == 0 else genres[(h + (n % 7 == 0) * n) % 8] for n, h in enumerate(heap.tolist())],
        "year": [None if n % 13 == 0 else 1950 + 20 * h + n % 20 for n, h in enumerate(heap.tolist())],
        "seen": [n % 3 == 0 for n in range(600)],
        "title": [f"Film {n}" for n in range(600)],
    }
    attributes = [{"name": name, "values": values} for name, values in columns.items()]
    x, y = (places / np.abs(places).max()).round(4).T.tolist()
    ids = [str(1_000 + 3 * n) for n in range(600)]
    return {"items": 600, "of": 1_260_000, "shown": [0.31, 0.12], "ids": ids, "x": x, "y": y, "attributes": attributes}


@dataclass
class Stage:
    alice: User
    dana: User
    # Owns a team that has nothing yet.
    erin: User
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
    slower = {**TUNE, "curve": [{**point, "ms": 1.3 * point["ms"]} for point in CURVE[:-1]]}
    older = activated(made_version(films_service, items=1_250_000, report={"tune": slower}))
    for spans_ago in range(300, 40, -1):
        busy = calls(900 + spans_ago, codes={"OK": 880 + spans_ago, "UNAVAILABLE": 20 if spans_ago % 50 < 4 else 0})
        asked(films_service, busy, spans_ago=spans_ago)
    newer = activated(
        made_version(
            films_service, items=1_260_000, recall=0.987, report={"tune": TUNE, "items": {"id_overlap_percent": 99.1}}
        )
    )
    row = comparison_ask(version=newer, other=older)
    assert row is not None
    done(row)
    made_version(films_service, items=1_262_000, model_version="mind-8")
    for number, minutes in ((1, 300), (2, 7)):
        then = timezone.now() - timedelta(minutes=minutes)
        Activation.objects.filter(to_version=number).update(at=then)
        Version.objects.filter(number=number).update(created_at=then, completed_at=then)
    Replica.objects.update(rss_bytes=900_000_000)
    for spans_ago in range(40, 0, -1):
        asked(films_service, calls(1000, seconds=0.004), spans_ago=spans_ago, with_idle=True)
    Projection.objects.create(
        version=Version.objects.get(service=films_service, number=2), sample=some_items(), plane={}
    )
    held(build_asked(refreshed(films_service), force=True))
    Build.objects.filter(number=3).update(report={"tune": TUNE})
    alert_raise(service=films_service, reason="replica.slow", message="r2 on node local answers slowly: p99 41 ms.",
                severity=Severity.CRITICAL, evidence={"p99_ms": 41})  # fmt: skip
    alert_raise(service=films_service, reason="drop.late", message="No drop came for 26 h.", severity=Severity.WARNING)
    alert_raise(service=films_service, reason="version.skew", message="Replica r3 serves version 1.")
    alert_resolve(service=films_service, reason="version.skew")
    keys_in_all_states(films)
    builds_of_each_kind(make_service(films, "trailers"))
    quota_update(actor=TESTER, tenant=films, items_max=1_500_000)
    erin = make_user("erin")
    make_tenant("games", owner=erin)
    return Stage(alice, dana, erin, live_server.url)


def builds_of_each_kind(service: Service) -> None:
    """One that failed, and one in the middle of its index."""
    claim = claimed(build_asked(service, drop="20261125T030000Z"))
    actions.step_start(claim, "resolve_drop")
    message = "items-000.parquet, row 17: the vector has 63 numbers; the schema says 64."
    actions.build_fail(claim, reason="drop.dimension_mismatch", owner="user", message=message)
    claim = claimed(build_asked(service, drop="20261126T030000Z"))
    actions.step_start(claim, "resolve_drop")
    actions.step_done(claim, "resolve_drop", report={}, context={}, detail="20261126T030000Z")
    actions.step_start(claim, "build_index")
    told = {"progress": 0.42, "rate": 41_000, "eta_seconds": 75, "detail": "2,520,000 of 6,000,000 rows"}
    actions.step_progress(claim, "build_index", **told)
    for tenth in range(20):
        actions.build_say(claim, "build_index", f"{126_000 * (tenth + 1):,} of 6,000,000 rows, 41,000 a second")


@pytest.fixture
def posters(films: Tenant, settings: Any) -> Iterator[None]:
    """A service that can be asked."""
    make_posters(films)
    with serving(answer) as gateway:
        settings.GATEWAY_ADDRESS = gateway.address
        yield


def keys_in_all_states(films: Tenant) -> None:
    """One in use, one that ends soon, one that was replaced and is used all the same, one that is revoked."""
    now = timezone.now()
    soon = now + timedelta(days=9)
    ranker, batch, old, lost = (
        key_create(actor=TESTER, tenant=films, name=name, scope=scope, service=service, expires_at=ends).key
        for name, scope, service, ends in (
            ("ranker", "read", "movies", None),
            ("nightly batch", "write", "", soon),
            ("homepage", "read", "", None),
            ("laptop of a leaver", "manage", "", None),
        )
    )
    key_rotate(actor=TESTER, key=old, overlap_seconds=86_400)
    key_revoke(actor=TESTER, key=lost)
    used = [(ranker, 0, "10.0.3.7"), (batch, 600, "10.0.3.9"), (old, -5, "fe80::dead:beef")]
    keys_used(uses=[Use(key.prefix, "films", "movies", now - timedelta(minutes=ago), at) for key, ago, at in used])


@pytest.mark.usefixtures("wizard", "posters")
@pytest.mark.parametrize("look", LOOKS)
def test_every_page_obeys_the_policy_and_can_be_used_by_everybody(browser: Browser, stage: Stage, look: str) -> None:
    faults: list[str] = []
    tours = (
        (None, PAGES_OF_STRANGERS),
        (stage.alice, PAGES),
        (stage.dana, PAGES_OF_ADMINISTRATORS),
        (stage.erin, PAGES_OF_NEWCOMERS),
    )
    for user, pages in tours:
        with visit(browser, stage.server, user, **LOOKS[look]) as window:
            for name, path in pages.items():
                page = window.go(path)
                for drawn in page.locator("[data-traffic], [data-curves], [data-compared], [data-projection]").all():
                    drawn.locator("canvas, .muted").first.wait_for()
                keep(page, f"{name}-{look}")
                faults += [f"{name}: {barrier}" for barrier in barriers(page, AXE_RULES[look])]
                faults += [f"{name}: {told} is described by nothing" for told in page.evaluate(UNDESCRIBED)]
                if page.evaluate("document.documentElement.scrollWidth") > LOOKS[look]["viewport"]["width"]:
                    faults.append(f"{name}: wider than the window")
            faults += [complaint for complaint in window.complaints if "404" not in complaint]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("look", LOOKS)
def test_what_a_press_shows_can_be_used_by_everybody(browser: Browser, stage: Stage, look: str, settings: Any) -> None:
    """A key that is shown once, a form with faults, a person that was taken in, and a lock after wrong passwords."""
    with visit(browser, stage.server, stage.alice, **LOOKS[look]) as window:
        page = window.go("/t/films/keys/")
        page.get_by_label("Name").fill("trial")
        page.get_by_role("button", name="Create key").click()
        expect(page.get_by_text("it is shown only once")).to_be_visible()
        keep(page, f"made-key-{look}")
        assert barriers(page, AXE_RULES[look]) == []
        page = window.go("/t/films/members/")
        page.get_by_label("User name").fill("nobody")
        page.get_by_role("button", name="Take in").click()
        expect(page.locator(".is-invalid")).to_have_count(1)
        keep(page, f"fault-{look}")
        assert barriers(page, AXE_RULES[look]) == []
        page.get_by_label("new").check()
        page.get_by_role("button", name="Take in").click()
        expect(page.locator("#password")).to_be_visible()
        keep(page, f"made-member-{look}")
        assert barriers(page, AXE_RULES[look]) == []
        assert window.complaints == []
    with visit(browser, stage.server, **LOOKS[look]) as window:
        page = window.go("/login/")
        for _ in range(settings.SIGN_IN_FAILURES_MAX):
            page.get_by_label("User name").fill("alice")
            page.get_by_label("Password").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Too many wrong passwords")).to_be_visible()
        keep(page, f"locked-{look}")
        assert barriers(page, AXE_RULES[look]) == []


def test_what_a_page_offers_to_copy_is_copied(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice, permissions=["clipboard-read", "clipboard-write"]) as window:
        page = window.go("/t/films/s/movies/connect/?in=cli")
        for label, element in (("Copy the question", "#snippet"), ("Copy the installation", "#install")):
            page.get_by_role("button", name=label).click()
            shown = page.locator(element).text_content()
            assert page.evaluate("navigator.clipboard.readText()") == shown
        page.get_by_role("button", name="Copy the command").first.click()
        assert page.evaluate("navigator.clipboard.readText()") == "recall key create films/movies --scope read"
        assert window.complaints == []


def test_without_a_clipboard_the_text_is_copied_by_selecting_it(browser: Browser, stage: Stage) -> None:
    """As where the console is reached over plain http from another machine."""
    with visit(browser, stage.server, stage.alice) as window:
        window.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page = window.go("/t/films/s/movies/connect/?in=cli")
        button = page.get_by_role("button", name="Copy the question")
        button.click()
        expect(page.locator("#snippet + button")).to_have_text("Copied")
        assert (
            page.evaluate("getSelection().toString()").strip()
            == (page.locator("#snippet").text_content() or "").strip()
        )


def test_the_first_call_appears_by_itself_and_the_page_stops_asking(
    browser: Browser, stage: Stage, films: Tenant
) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/t/films/s/shows/connect/")
        expect(page.get_by_text("No program has called shows with a key yet.")).to_be_visible()
        key = key_create(actor=TESTER, tenant=films, name="trial", scope="read").key
        keys_used(uses=[Use(key.prefix, "films", "shows", timezone.now(), "10.0.3.7")])
        expect(page.get_by_text("First call seen at")).to_be_visible()
        assert page.locator("#first-call").get_attribute("hx-trigger") is None


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
        expect(page.locator("#traffic canvas")).to_have_count(6)
        with page.expect_response(lambda answer: "hours=24" in answer.url) as asked_for:
            page.get_by_role("button", name="24 h").click()
        told = asked_for.value.json()
        assert max(told["queries_per_second"]) > 50
        assert [switch["to_version"] for switch in told["switches"]] == [1, 2]
        page = window.go("/t/films/s/movies/versions/2/")
        expect(page.locator("#curve canvas")).to_have_count(1)
        assert window.complaints == []


@pytest.mark.usefixtures("posters")
def test_a_question_is_asked_compared_and_copied_without_leaving_the_page(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice, permissions=["clipboard-read", "clipboard-write"]) as window:
        page = window.go(ADDRESS)
        page.get_by_role("textbox", name="Vector").fill("1, 2, 3, 4")
        page.get_by_label("Beside it").select_option("3")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Recall").click()
        expect(page.get_by_role("region", name="Answer of version 3").get_by_role("row")).to_have_count(6)
        expect(page.get_by_text("overlap@10: 1.00")).to_be_visible()
        expect(page).to_have_url(re.compile(r"/playground/\?vector=1,\+2,\+3,\+4&beside=3$"))
        keep(page, "playground-asked-light")
        page.get_by_text("grpcurl", exact=True).click()
        page.get_by_role("button", name="Copy", exact=True).click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert "recallpb.v1.RecallService/Recall" in page.evaluate("navigator.clipboard.readText()")
        page.get_by_label("Filter").fill("year > !")
        page.get_by_role("button", name="Recall").click()
        expect(page.locator("#fault-filter")).to_contain_text("ends where a value should stand")
        page.go_back()
        expect(page).to_have_url(re.compile("beside=3$"))
        expect(page.get_by_text("overlap@10: 1.00")).to_be_visible()
        assert window.complaints == []


@pytest.mark.usefixtures("posters")
def test_a_question_is_asked_without_javascript(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice, java_script_enabled=False) as window:
        page = window.go(ADDRESS)
        page.get_by_role("link", name="By features").click()
        page.get_by_label("watched").fill("3, 4")
        page.get_by_role("button", name="Recall").click()
        expect(page.get_by_role("region", name="Answer of live, version 2").get_by_role("row")).to_have_count(6)
        expect(page).to_have_url(re.compile(r"f\.watched=3,\+4"))


def test_two_picked_versions_are_drawn_in_the_same_charts(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice) as window:
        page = window.go("/t/films/s/movies/")
        for number in (1, 2):
            page.get_by_label(f"Pick version {number}").check()
        page.get_by_role("button", name="Compare two").click()
        expect(page.get_by_role("heading", name="Version 2 beside version 1")).to_be_visible()
        expect(page.locator("[data-compared] canvas")).to_have_count(2)
        assert window.complaints == []


def test_pages_can_be_read_without_javascript(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.server, stage.alice, java_script_enabled=False) as window:
        page = window.go("/")
        expect(page.get_by_role("link", name="movies", exact=True)).to_be_visible()
        page = window.go("/t/films/s/movies/")
        page.get_by_text("The last hour as a table").click()
        table = page.get_by_role("group", name="Traffic of the last hour")
        expect(table.get_by_role("row")).to_have_count(14)
        expect(table).to_contain_text("UTC")


def barriers(page: Page, rules: dict[str, Any]) -> list[str]:
    """What axe-core finds that keeps people from using the page, and where."""
    found = [each for each in Axe().run(page, options=rules).response["violations"] if each["impact"] in SERIOUS]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"][:3]]


def keep(page: Page, name: str) -> None:
    folder = Path(os.environ.get("RECALL_TEST_SHOTS") or SHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)
