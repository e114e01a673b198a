"""The system's Chromium on the pages of a live server, with a record of what it complained about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

NAMES = ("chromium", "chromium-browser", "google-chrome")
# It runs as whoever runs the tests, in a container too, and asks nobody outside the machine for anything.
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
WAIT_MS = 5_000


def launch(playwright: Playwright) -> Browser:
    """A machine without a browser skips by name, which CI forbids."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("Chromium is missing. Remedy: sudo apt-get install -y chromium")
    return playwright.chromium.launch(executable_path=program, args=list(OPTIONS))


@dataclass
class Visit:
    """One person's window."""

    page: Page
    base_url: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        self.page.goto(self.base_url + path, wait_until="load")
        return self.page

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def watch(self, request: Request) -> None:
        if not request.url.startswith((self.base_url, "data:")):
            self.complaints.append(f"{self.page.url}: asked for {request.url}")


@contextmanager
def visit(browser: Browser, base_url: str, user: User | None = None, **options: Any) -> Iterator[Visit]:
    """A window of `user`'s own; whoever closes it hears what Chromium complained about."""
    context = browser.new_context(**{"viewport": DESK, **options})
    context.set_default_timeout(WAIT_MS)
    try:
        if user is not None:
            sign_in(context, base_url, user)
        visit = Visit(context.new_page(), base_url)
        visit.page.on("console", visit.hear)
        visit.page.on("pageerror", lambda error: visit.complaints.append(f"{visit.page.url}: {error}"))
        visit.page.on("request", visit.watch)
        yield visit
    finally:
        context.close()


def sign_in(context: BrowserContext, base_url: str, user: User) -> None:
    """By a session of the server's own, so that not every test types a password."""
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": base_url}])
