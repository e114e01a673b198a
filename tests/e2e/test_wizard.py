"""From opening the create wizard to the first answer, on a whole platform."""

from __future__ import annotations

import time

import pytest

from tests.e2e.browser import Browser
from tests.e2e.drops import write_drop
from tests.e2e.platform import Platform, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.servers, pytest.mark.timeout(300)]

ITEMS, DIMENSION = 100_000, 64
# On an idle machine a minute is the bar; one that others use may be several times slower, and is no reason to be red.
SECONDS_MAX = 240.0
POLL_SECONDS = 0.5
PASSWORD = "correct horse battery"


def test_a_person_has_a_service_that_answers_soon(platform: Platform) -> None:
    vectors = write_drop(platform.source("catalogue"), "20260101", items=ITEMS, dimension=DIMENSION, first_id=0, seed=1)
    alice = {"username": "alice", "role": "owner", "password": PASSWORD, "must_change_password": False}
    platform.api("POST", "/members", alice)
    with Browser(platform.console_url) as browser:
        browser.get("/login/")
        browser.submit("password", username="alice", password=PASSWORD)
        marks = [("opened", time.monotonic())]

        browser.get(f"/t/{platform.tenant}/services/new/")
        browser.submit("uri", name="catalogue", uri="file:catalogue/")
        schema = browser.path
        reading = schema.replace("/schema/", "/reading/")
        eventually(
            lambda: "HX-Refresh" in browser.get(reading).headers, seconds_max=30, what="a look into the source",
            every_seconds=POLL_SECONDS,
        )  # fmt: skip
        marks.append(("proposed", time.monotonic()))
        browser.get(schema)
        browser.submit("dimension")
        assert "Every row of the sample is good." in browser.page.text
        browser.get(schema.replace("/schema/", "/review/"))
        browser.submit("engine", build_now="on")
        build = browser.path
        assert "/builds/" in build, browser.page.text
        marks.append(("created", time.monotonic()))
        eventually(
            lambda: 'id="progress" hx-get' not in browser.get(f"{build}progress/").text,
            seconds_max=240, what=lambda: f"the build to end: {browser.page.text}", every_seconds=POLL_SECONDS,
        )  # fmt: skip
        assert "Version 1 is live" in browser.page.text, browser.page.text
        marks.append(("live", time.monotonic()))

    asked = {"vectors": [vectors[7].tolist()], "top_k": 10}
    found = platform.api("POST", "/services/catalogue:recall", asked)
    marks.append(("answered", time.monotonic()))
    assert str(found["ids"][0]) == "7"
    report(marks)
    assert marks[-1][1] - marks[0][1] < SECONDS_MAX


def report(marks: list[tuple[str, float]]) -> None:
    begin = marks[0][1]
    steps = ", ".join(f"{name} after {at - begin:.1f} s" for name, at in marks[1:])
    print(f"\nThe wizard with a drop of {ITEMS:,} x {DIMENSION}: {steps}.")
