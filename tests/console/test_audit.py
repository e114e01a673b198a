"""The audit trail as a page and as a file."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import User

from audit import selectors
from audit.actions import record
from audit.selectors import EVENTS_PAGE_DEFAULT
from catalog.models import Service
from common.actor import Actor
from console.views import audit
from tests.console.test_pages import signed_in
from tests.factories import TESTER


def note(verb: str = "service.hold", **told: Any) -> None:
    record(**{"actor": TESTER, "tenant": "films", "verb": verb, **told})


def exported(user: User, query: str = "") -> list[dict[str, str]]:
    response = signed_in(user).get(f"/t/films/audit.csv{query}")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert 'filename="audit-films.csv"' in response["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(b"".join(response).decode())))


def test_it_is_filtered_by_who_what_and_service(victor: User, films_service: Service) -> None:
    note("service.hold", service="movies", reason="a holiday")
    note("service.rollback", service="series", actor=Actor(kind="user", name="bob"))
    note("servicing.begin", target="not a service")
    client = signed_in(victor)
    assert b"a holiday" in client.get("/t/films/audit/").content
    assert b"a holiday" not in client.get("/t/films/audit/?actor=bob").content
    assert b"a holiday" not in client.get("/t/films/audit/?service=series").content
    assert b"not a service" not in client.get("/t/films/audit/?verb=service").content
    assert {event["verb"] for event in exported(victor, "?actor=bob")} == {"service.rollback"}


def test_older_events_are_a_page_away_and_keep_the_filter(alice: User, films_service: Service) -> None:
    for number in range(EVENTS_PAGE_DEFAULT + 3):
        note("test.note", target=f"note-{number:03}")
    client = signed_in(alice)
    first = client.get("/t/films/audit/?verb=test")
    assert b"note-002" not in first.content
    second = client.get(f"/t/films/audit/?{first.context['older']}").content
    assert b"note-002" in second
    assert b"note-003" not in second
    assert b">Older<" not in second


def test_the_file_holds_everything_and_no_formula(alice: User, films_service: Service) -> None:
    note(reason='=HYPERLINK("http://evil")', before={"held": False}, after={"held": True})
    [event] = exported(alice, "?verb=service.hold")
    assert event["reason"] == '\'=HYPERLINK("http://evil")'
    assert (event["before"], event["after"]) == ('{"held": false}', '{"held": true}')
    assert event["at"].endswith("+00:00")


def test_what_can_be_in_no_event_is_no_filter(alice: User, films_service: Service) -> None:
    assert signed_in(alice).get("/t/films/audit/?actor=%00&before=x&verb=%0A").status_code == 200


def test_a_file_that_is_cut_says_so_in_its_last_line(
    victor: User, films_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        note("test.note", target=f"note-{number}")
    assert len(exported(victor, "?verb=test")) == 3
    for module in (selectors, audit):
        monkeypatch.setattr(module, "EVENTS_EXPORTED_MAX", 2)
    *whole, last = exported(victor, "?verb=test")
    assert [event["target"] for event in whole] == ["note-2", "note-1"]
    assert last["at"].startswith("CUT HERE: the newest 2 events.")
