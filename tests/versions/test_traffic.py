"""What callers asked becomes rows, and rows become lines of a chart."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from catalog.models import Service
from documents.traffic import LATENCY_SECONDS, SPAN_SECONDS, Traffic
from tests.support.history import activated, made_version, refreshed
from tests.support.traffic import asked, calls, newest_span
from versions import actions
from versions.models import Activation, Replica, TrafficSpan, Version
from versions.traffic import history_of, loads_of, percentile_ms, rows_of


def counts(**at: int) -> list[int]:
    """Calls by the place of their bound: p3=5 are five calls below the fourth bound."""
    found = [0] * (len(LATENCY_SECONDS) + 1)
    for place, number in at.items():
        found[int(place[1:])] = number
    return found


@pytest.mark.parametrize(
    ("asked_for", "share", "expected"),
    [
        (counts(), 0.5, None),
        # All between 1 and 2 ms: the middle of them is taken to be in the middle.
        (counts(p2=10), 0.5, 1.5),
        (counts(p2=10), 1.0, 2.0),
        # 99 within 0.5 ms, one that took between 50 and 100 ms.
        (counts(p0=99, p11=1), 0.99, 0.5),
        (counts(p0=98, p11=2), 0.99, 75.0),
        # Longer than the longest bound is told as that bound.
        (counts(p17=1), 0.5, 10_000.0),
    ],
)
def test_a_percentile_is_read_between_the_bounds(asked_for: list[int], share: float, expected: float | None) -> None:
    assert percentile_ms(asked_for, share) == pytest.approx(expected)


def test_a_span_that_is_noted_twice_counts_once(films_service: Service) -> None:
    asked(films_service, calls(100))
    asked(films_service, calls(100))
    assert TrafficSpan.objects.get().queries == 100
    assert loads_of([films_service])[films_service.pk].queries_per_second == pytest.approx(100 / 60)


def test_names_of_nobody_are_passed_over(films_service: Service) -> None:
    traffic = {
        f"tenants/{name}": calls(1)
        for name in ("films/services/nothing", "books/services/movies", "films/services/movies")
    }
    actions.traffic_record(began=newest_span(), asked=traffic, with_idle=False)
    assert TrafficSpan.objects.get().service == films_service


def test_a_service_that_nobody_calls_is_noted_with_its_memory_when_it_is_asked_for(films_service: Service) -> None:
    made_version(films_service)
    Replica.objects.update(rss_bytes=5_000_000)
    actions.traffic_record(began=newest_span(), asked={}, with_idle=False)
    assert not TrafficSpan.objects.exists()
    actions.traffic_record(began=newest_span(), asked={}, with_idle=True)
    span = TrafficSpan.objects.get()
    assert (span.queries, span.counts, span.rss_bytes) == (0, [], 5_000_000)


def test_what_is_older_than_a_day_goes(films_service: Service) -> None:
    old = timezone.now() - timedelta(days=1, minutes=1)
    actions.traffic_record(began=old, asked={"tenants/films/services/movies": calls(1)}, with_idle=False)
    asked(films_service, calls(2))
    actions.traffic_prune()
    assert TrafficSpan.objects.get().queries == 2


def test_a_history_tells_each_span_and_what_lay_between(films_service: Service) -> None:
    asked(films_service, calls(50, queries=500, seconds=0.0015), spans_ago=2)
    asked(films_service, calls(20, codes={"OK": 15, "UNAVAILABLE": 5}, seconds=0.04))
    history = history_of(films_service, hours=1)
    assert (history.step_seconds, len(history.at)) == (SPAN_SECONDS, 360)
    assert history.queries_per_second[-3:] == [50.0, 0.0, 2.0]
    assert history.p99_ms[-3:] == [pytest.approx(1.99), None, pytest.approx(49.8)]
    assert history.errors == {"UNAVAILABLE": [0.0] * 359 + [0.5]}
    assert history.at[-1] == int(newest_span().timestamp())


def test_a_longer_time_has_wider_steps_and_loses_no_call(films_service: Service) -> None:
    for spans_ago in range(60):
        asked(films_service, calls(10), spans_ago=spans_ago)
    day = history_of(films_service, hours=24)
    assert len(day.at) <= 361
    assert sum(day.queries_per_second) * day.step_seconds == pytest.approx(600, rel=0.02)
    rows = rows_of(history_of(films_service, hours=1, points_max=12))
    assert rows[0]["at"] > rows[1]["at"]
    assert sum(row["queries_per_second"] for row in rows) * 300 == pytest.approx(600, rel=0.02)


def test_memory_holds_until_it_is_too_old_to_be_believed(films_service: Service) -> None:
    made_version(films_service)
    Replica.objects.update(rss_bytes=7)
    asked(films_service, Traffic(), spans_ago=100, with_idle=True)
    memory = history_of(films_service, hours=1).memory_bytes
    assert memory[-102:-100] == [None, 7]
    assert memory[-100] == 7
    assert memory[-1] is None


def test_the_recall_of_what_was_live_beside_the_limits_of_the_spec(films_service: Service) -> None:
    now = timezone.now()
    for minutes, recall in ((90, 0.99), (20, 0.97)):
        version = activated(made_version(films_service, recall=recall))
        Activation.objects.filter(to_version=version.number).update(at=now - timedelta(minutes=minutes))
    history = history_of(refreshed(films_service), hours=1)
    assert (history.recall[0], history.recall[-1]) == (0.99, 0.97)
    assert (history.versions[0], history.versions[-1], set(history.versions)) == (1, 2, {1, 2})
    assert (history.recall_target, history.recall_min) == (0.98, 0.95)
    newest = rows_of(history)[0]
    assert (newest["version"], newest["recall"]) == (2, 0.97)


def test_before_anything_was_live_there_is_no_recall_and_no_age(films_service: Service) -> None:
    history = history_of(films_service, hours=1)
    assert {*history.recall, *history.versions, *history.age_seconds} == {None}


def test_switches_and_the_age_of_what_was_live(films_service: Service) -> None:
    now = timezone.now()
    for minutes in (90, 20):
        version = activated(made_version(films_service))
        Version.objects.filter(pk=version.pk).update(completed_at=now - timedelta(minutes=minutes + 10))
        Activation.objects.filter(to_version=version.number).update(at=now - timedelta(minutes=minutes))
    history = history_of(refreshed(films_service), hours=1)
    assert [(switch["from_version"], switch["to_version"]) for switch in history.switches] == [(1, 2)]
    ages = [age for age in history.age_seconds if age is not None]
    assert len(ages) == len(history.at)
    # Version 1 was made 100 minutes ago and the chart begins 60 minutes ago; version 2 was made 30 minutes ago.
    assert ages[0] == pytest.approx(40 * 60, abs=60)
    assert ages[-1] == pytest.approx(30 * 60, abs=60)
    assert max(ages) == pytest.approx(80 * 60, abs=60)
