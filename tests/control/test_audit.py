"""The audit trail: each tenant reads its own, newest first, a page at a time."""

from __future__ import annotations

import pytest

from audit.actions import record
from audit.selectors import EVENTS_PAGE_MAX, events_of
from tests.factories import TESTER

pytestmark = pytest.mark.django_db


def note(count: int, *, tenant: str = "films", service: str = "") -> list[int]:
    return [
        record(actor=TESTER, verb="test.note", tenant=tenant, service=service, target=str(n)).pk for n in range(count)
    ]


def test_it_gives_the_newest_first_and_the_next_page_after_the_last_one():
    made = note(5)
    first = events_of("films", limit=2)
    second = events_of("films", before_id=first[-1].pk, limit=2)
    third = events_of("films", before_id=second[-1].pk, limit=2)
    assert [event.pk for event in [*first, *second, *third]] == made[::-1]


def test_it_shows_no_event_of_another_tenant():
    note(2, tenant="books", service="movies")
    made = note(1, tenant="films", service="movies")
    assert [event.pk for event in events_of("films")] == made
    assert [event.pk for event in events_of("films", "movies")] == made


def test_it_shows_the_events_of_one_service():
    made = note(2, service="movies")
    note(2, service="series")
    note(1)
    assert [event.pk for event in events_of("films", "movies")] == made[::-1]


@pytest.mark.parametrize("limit", [-1, 0, 10**9])
def test_a_page_has_at_least_one_event_and_an_end(limit):
    note(EVENTS_PAGE_MAX + 5)
    assert len(events_of("films", limit=limit)) == (1 if limit < 1 else EVENTS_PAGE_MAX)
