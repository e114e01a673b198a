"""Every page of the table can be read: with scripts off, without asking anybody but the database, and at rest it rests.

A page that is new in tests/control/page_table.py is walked by itself.
"""

from __future__ import annotations

import html
import re
import socket
import subprocess
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page

from catalog.models import Service
from tenants.actions import Use, key_create, keys_used
from tenants.models import Role, Tenant
from tests.console import test_browser as scene
from tests.console.browser import visit
from tests.console.test_pages import signed_in
from tests.control.page_table import PAGE_DOORS
from tests.control.url_table import Need
from tests.factories import TESTER, make_member, make_user
from tests.support.history import activated, asked, claimed, held, made_version, refreshed
from versions import actions
from versions.models import Activation
from versions.states import ActivationState

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

browser, stage, wizard = scene.browser, scene.stage, scene.wizard

# Nobody needs a script to read what is drawn of figures that stand in a table, or a button that only a script answers.
OF_SCRIPTS = ".chart, .charts, [data-scripted], button[type=button]"
# What is no page: parts that htmx fetches, figures for charts, answers of a gateway, files.
PARTS = (
    "/status/",
    "/progress/",
    "/traffic/",
    "/projection/",
    "/neighbours/",
    "/reading/",
    ".csv",
    ".tar.gz",
    ".proto",
)
# Whoever looks at it is on it: the second browser's sign-in is one more line.
LISTS_WHO_LOOKS = "/account/"
# It tells what Redis knows of gateways, and answers without when Redis is away; see tests/settings.py for the port.
ASKS_REDIS, REDIS_PORT = ("/operations/",), 1
LOGS_OUT = "/logout/"
CHANGING = re.compile(r"\d+")


def pages(draft: str = "draft-of-alice", **arguments: Any) -> dict[str, Need | Any]:
    """The path of each page that is looked at, and what it takes to."""
    doors = [door for door in PAGE_DOORS if door.method == "GET" and door.needs is not Need.NOTHING]
    found = {door.url(draft=draft, **arguments): door.needs for door in doors}
    return {path: needs for path, needs in found.items() if not path.endswith(PARTS)}


@pytest.mark.usefixtures("wizard")
def test_with_scripts_off_each_page_shows_what_it_shows_with_them(browser: Browser, stage: scene.Stage) -> None:
    faults, paths = [], [path for path in pages(draft="series") if path != LISTS_WHO_LOOKS]
    assert len(paths) > 12
    with (
        visit(browser, stage.server, stage.dana) as scripted,
        visit(browser, stage.server, stage.dana, java_script_enabled=False) as plain,
    ):
        for path in paths:
            wanted, found = lines_of(scripted.go(path)), lines_of(plain.go(path))
            if not plain.page.locator("main").get_by_role("heading").first.is_visible():
                faults.append(f"{path}: no heading")
            if missing := [line for line in wanted if line not in found]:
                faults.append(f"{path}: only with scripts: {missing[:3]}")
    assert not faults, "\n".join(faults)


def lines_of(page: Page) -> list[str]:
    """What can be read of the page, without what scripts draw; ages and times pass while it is read."""
    page.locator("main").evaluate(
        "(main, own) => main.querySelectorAll(own).forEach((each) => each.remove())", OF_SCRIPTS
    )
    return [CHANGING.sub("#", line.strip()) for line in page.locator("main").inner_text().splitlines() if line.strip()]


@pytest.fixture
def at_rest(alice: User, films_service: Service) -> Client:
    """A service of which nothing is under way: it was called, and builds ended in each way."""
    key = key_create(actor=TESTER, tenant=films_service.tenant, name="ranker", scope="read").key
    keys_used(uses=[Use(key.prefix, "films", "movies", timezone.now(), "10.0.3.7")])
    activated(made_version(films_service))
    Activation.objects.update(state=ActivationState.COMPLETE)
    actions.build_fail(claimed(asked(films_service)), reason="drop.empty", owner="user", message="Nothing is in it.")
    actions.build_cancel(actor=TESTER, build=asked(films_service))
    return signed_in(alice)


def test_polling_stops_when_the_state_is_final(at_rest: Client) -> None:
    seen = []
    for number in (1, 2, 3):
        for path, needs in pages(number=number).items():
            response = at_rest.get(path)
            if needs is not Need.PLATFORM_ADMIN and response.status_code == 200:
                seen.append(path)
                assert b'hx-trigger="every' not in response.content, path
    assert {f"/t/films/s/movies/builds/{number}/" for number in (1, 2, 3)} <= set(seen)
    assert {"/", "/alerts/", "/t/films/s/movies/", "/t/films/s/movies/versions/1/"} <= set(seen)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_nobody_is_offered_a_way_that_refuses_them(at_rest: Client, films: Tenant, role: str) -> None:
    """Each link and each form of each page that one may see is tried."""
    user = make_user("walker")
    make_member(films, user, role)
    activated(made_version(refreshed(Service.objects.get(name="movies"))))
    client = signed_in(user)
    seen = [client.get(path) for number in (1, 2, 3) for path in pages(number=number)]
    shown = [answer.content.decode() for answer in seen if answer.status_code == 200]
    links = {html.unescape(link) for page in shown for link in re.findall(r'href="(/[^"#]*)', page)}
    refused = [link for link in sorted(links) if client.get(link).status_code == 403]
    assert "/t/films/s/movies/versions/1/" in links
    forms = {form for page in shown for form in re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', page)}
    refused += [form for form in sorted(forms - {LOGS_OUT}) if client.post(form).status_code == 403]
    assert LOGS_OUT in forms
    assert refused == []


def test_a_build_under_way_is_looked_at_each_second_and_a_held_one_seldom(alice: User, films_service: Service) -> None:
    client = signed_in(alice)
    claimed(asked(films_service))
    assert b'hx-trigger="every 1s"' in client.get("/t/films/s/movies/builds/1/").content
    held(asked(films_service, force=True))
    assert b'hx-trigger="every 5s"' in client.get("/t/films/s/movies/builds/2/").content


def test_no_page_waits_for_anybody_but_the_database(
    at_rest: Client, dana: User, films: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gateway, no source, no child: whatever may be slow is asked by a worker. Of Redis only operations ask."""
    asked_for: list[str] = []

    def refuse(_socket: socket.socket, address: Any) -> None:
        if path not in ASKS_REDIS or address[-1] != REDIS_PORT:
            asked_for.append(f"{path} connects to {address}")
        raise ConnectionRefusedError

    def never(*arguments: Any, **_more: Any) -> None:
        asked_for.append(f"{path} starts {arguments}")
        raise FileNotFoundError

    client = signed_in(dana)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", never)
    for path in pages():
        assert client.get(path).status_code in (200, 302, 404), path
    assert asked_for == []
