"""What a look at a source leads to. Looks are told what was seen and when; nobody waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alerts.models import Alert
from audit.models import AuditEvent
from catalog.actions import service_delete, service_hold, service_update
from catalog.models import Service
from tests.factories import TESTER, make_service
from tests.support.history import asked, claimed, refreshed
from versions import actions, selectors
from versions.actions import Claim, Seen
from versions.models import Build, SourceWatch

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def source(**fields: object) -> dict[str, object]:
    return {"source": {"uri": "file:movies/", **fields}}


def drop(name: str, *, bad: bool = False) -> Seen:
    return Seen(name, name.rjust(64, "0"), bad=bad, problem="damaged" if bad else "")


def watch_of(service: Service) -> SourceWatch:
    actions.watches_begin(START)
    return SourceWatch.objects.select_related("service__tenant").get(service=service)


def look(service: Service, seen: Seen, now: datetime = START) -> int | None:
    """The number of the build that was asked for."""
    build = actions.source_looked(watch=watch_of(service), seen=seen, now=now)
    return build.number if build else None


def resolve(build: Build, seen: Seen) -> Claim:
    """A worker has begun the build and found the drop that was seen."""
    claim = claimed(build)
    twin = actions.drop_resolve(claim, name=seen.name, fingerprint=seen.fingerprint, drop={})
    assert twin is None
    return claim


def end(service: Service, seen: Seen, state: str) -> None:
    """The newest build of the service is of the drop that was seen and ends so."""
    claim = resolve(Build.objects.filter(service=service).latest("number"), seen)
    if state == "SUCCEEDED":
        actions.build_succeed(claim)
    elif state == "FAILED":
        actions.build_fail(claim, reason="drop.empty", owner="user", message="No row is good.")
    elif state == "CANCELLED":
        actions.build_stop(claim, reason="build.cancelled", message="Cancelled by alice.")
    else:
        actions.step_start(claim, "activate")
        actions.build_hold(
            claim, "activate", reason="guard.min_items", message="Too few.", evidence=[], report={}, context={}
        )


def alerts(service: Service) -> list[tuple[str, str]]:
    return list(Alert.objects.filter(service=service).order_by("pk").values_list("reason", "state"))


def test_a_new_drop_is_asked_for_once(films_service):
    assert look(films_service, Seen(problem="no folder")) is None
    assert look(films_service, drop("1"), START + MINUTE) == 1
    build = Build.objects.get()
    assert (build.requested_by, build.drop_name, build.force) == ("source marker", "", False)
    assert AuditEvent.objects.get(verb="build.request").actor == "source marker"
    assert look(films_service, drop("1")) is None
    end(films_service, drop("1"), "SUCCEEDED")
    assert look(films_service, drop("1")) is None
    assert look(films_service, drop("2")) == 2


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "SUCCEEDED", "HELD"])
def test_whatever_became_of_its_build_a_drop_is_not_asked_for_again(films_service, state):
    """By the watcher's own build, and by one that somebody asked for by hand."""
    look(films_service, drop("1"))
    end(films_service, drop("1"), state)
    assert look(films_service, drop("1"), START + DAY) is None
    asked(films_service)
    end(films_service, drop("2"), state)
    assert look(films_service, drop("2"), START + DAY) is None
    assert look(films_service, drop("3"), START + DAY) == 3


def test_a_build_that_failed_before_it_knew_its_drop_is_not_asked_for_again(films_service):
    look(films_service, drop("1"))
    claim = claimed(Build.objects.get())
    actions.build_fail(claim, reason="drop.bad_manifest", owner="user", message="not JSON")
    assert look(films_service, drop("1"), START + DAY) is None


def test_while_a_build_waits_or_runs_nothing_is_asked_for_and_then_the_newest_drop(films_service):
    by_hand = asked(films_service)
    assert look(films_service, drop("1")) is None
    claim = resolve(by_hand, drop("1"))
    assert look(films_service, drop("2")) is None
    actions.build_wait(claim, "resolve_drop", seconds=60, detail="", context={})
    assert look(films_service, drop("3")) is None
    Build.objects.update(wake_at="2020-01-01T00:00:00+00:00")
    claim = claimed(by_hand)
    actions.build_succeed(claim)
    assert look(films_service, drop("3")) == 2
    assert Build.objects.count() == 2


def test_a_newer_drop_is_asked_for_beside_a_held_build_and_ends_it(films_service):
    look(films_service, drop("2"))
    end(films_service, drop("2"), "HELD")
    assert look(films_service, drop("1")) is None
    assert look(films_service, drop("3")) == 2
    assert look(films_service, drop("4")) is None
    resolve(Build.objects.get(number=2), drop("3"))
    held = Build.objects.get(number=1)
    assert (held.state, held.error_reason) == ("CANCELLED", "build.superseded")


def test_a_service_on_hold_is_built_for_as_usual(films_service):
    service_hold(actor=TESTER, service=films_service, reason="Launch week.")
    assert look(films_service, drop("1")) == 1


def test_a_changed_spec_is_built_from_the_newest_drop_and_other_limits_are_not(films_service):
    look(films_service, drop("1"))
    end(films_service, drop("1"), "SUCCEEDED")
    service = service_update(
        actor=TESTER, service=films_service, spec={"limits": {"qps": 500}, "versions": {"keep": 3}}
    )
    assert look(service, drop("1")) is None
    service = service_update(actor=TESTER, service=service, spec={"guards": {"min_items": 7}})
    assert look(service, drop("1")) == 2
    end(service, drop("1"), "FAILED")
    assert look(service, drop("1")) is None
    service_update(actor=TESTER, service=service, spec={"guards": {"min_items": 1}})
    assert look(service, drop("1")) == 3, "what is live may be of the spec in between"


def test_a_bad_drop_is_asked_for_once_it_has_looked_bad_twice(films_service):
    assert look(films_service, drop("1", bad=True)) is None
    assert look(films_service, drop("1", bad=True)) == 1
    end(films_service, Seen("1", "b" * 64), "FAILED")
    assert look(films_service, drop("1", bad=True)) is None
    assert watch_of(films_service).problem == "damaged"
    mended = Seen("1", "c" * 64)
    assert look(films_service, mended) == 2


def test_a_file_system_that_stumbles_neither_asks_for_a_build_nor_counts_as_a_drop(films_service):
    look(films_service, drop("1"))
    end(films_service, drop("1"), "SUCCEEDED")
    for seen in (drop("x", bad=True), drop("1"), drop("x", bad=True), Seen(problem="away"), drop("1")):
        assert look(films_service, seen, START + HOUR) is None
    watch = watch_of(films_service)
    assert (watch.drop_name, watch.drop_seen_at, watch.problem) == ("1", START, "")


def test_by_hand_nothing_is_asked_for(films):
    service = make_service(films, **source(notice="manual"))
    watch = watch_of(service)
    assert not actions.must_look(watch, now=START)
    assert look(service, drop("1")) is None
    assert watch_of(service).next_look_at == START + MINUTE


@pytest.fixture
def nightly(films) -> Service:
    """Built at three in the morning; first looked at the noon before."""
    service = make_service(films, **source(notice="0 3 * * *"))
    assert look(service, Seen()) is None
    assert watch_of(service).due_at == START + 15 * HOUR
    return service


def test_at_its_time_the_newest_drop_is_asked_for_and_not_before(nightly):
    watch = watch_of(nightly)
    assert not actions.must_look(watch, now=START + 14 * HOUR)
    assert look(nightly, drop("1"), START + 14 * HOUR) is None
    at = START + 15 * HOUR
    assert actions.must_look(watch, now=at)
    assert look(nightly, drop("1"), at) == 1
    assert Build.objects.get().requested_by == "source cron"
    assert watch_of(nightly).due_at == at + DAY
    assert look(nightly, drop("2"), at + MINUTE) is None


def test_runs_that_were_missed_are_made_up_for_once(nightly):
    late = START + 5 * DAY
    assert look(nightly, drop("5"), late) == 1
    end(nightly, drop("5"), "SUCCEEDED")
    assert look(nightly, drop("6"), late + MINUTE) is None
    assert watch_of(nightly).due_at == late + 15 * HOUR


def test_a_time_that_comes_during_a_build_is_kept_until_it_ends(nightly):
    asked(nightly)
    night = START + 15 * HOUR
    assert look(nightly, drop("1"), night) is None
    assert look(nightly, drop("1"), night + DAY + HOUR) is None
    end(nightly, drop("1"), "SUCCEEDED")
    assert look(nightly, drop("2"), night + DAY + 2 * HOUR) == 2
    end(nightly, drop("2"), "SUCCEEDED")
    assert look(nightly, drop("3"), night + DAY + 3 * HOUR) is None


@pytest.mark.parametrize(("state", "again"), [("SUCCEEDED", None), ("HELD", None), ("FAILED", 2), ("CANCELLED", 2)])
def test_at_its_time_a_drop_is_tried_again_unless_it_is_built(nightly, state, again):
    night = START + 15 * HOUR
    look(nightly, drop("1"), night)
    end(nightly, drop("1"), state)
    assert look(nightly, drop("1"), night + MINUTE) is None
    assert look(nightly, drop("1"), night + DAY) == again


def test_at_its_time_a_bad_drop_is_looked_at_twice_and_an_empty_source_is_left_alone(nightly):
    night = START + 15 * HOUR
    assert look(nightly, drop("1", bad=True), night) is None
    assert watch_of(nightly).next_look_at == night + timedelta(seconds=10)
    assert look(nightly, drop("1", bad=True), night + MINUTE) == 1
    end(nightly, Seen("1", "b" * 64), "FAILED")
    assert look(nightly, Seen(problem="no folder"), night + DAY) is None
    assert look(nightly, drop("2"), night + DAY + HOUR) is None


def test_another_expression_counts_from_now(nightly):
    nightly = service_update(actor=TESTER, service=nightly, spec={"source": {"notice": "0 6 * * *"}})
    at = START + 16 * HOUR
    assert look(nightly, drop("1"), at) is None
    assert watch_of(nightly).due_at == START + 18 * HOUR
    service_update(actor=TESTER, service=nightly, spec={"source": {"notice": "marker"}})
    assert look(nightly, drop("1"), at) == 1
    assert watch_of(nightly).due_at is None


def test_a_clock_that_was_wrong_for_a_while_costs_no_run(nightly):
    in_a_year = START + 365 * DAY
    look(nightly, drop("1"), in_a_year)
    end(nightly, drop("1"), "SUCCEEDED")
    assert look(nightly, drop("2"), START + HOUR) is None
    assert watch_of(nightly).due_at == START + 15 * HOUR
    assert look(nightly, drop("2"), START + 15 * HOUR) == 2


def test_a_drop_that_does_not_come_raises_an_alert_once_and_the_next_drop_resolves_it(films):
    service = make_service(films, **source(expect_every="26h"))
    look(service, drop("20261125"))
    look(service, drop("20261125"), START + 26 * HOUR)
    assert alerts(service) == []
    for minutes in (1, 2, 3):
        look(service, drop("20261125"), START + 26 * HOUR + minutes * MINUTE)
    alert = Alert.objects.get()
    assert (alert.reason, alert.subject, alert.state, alert.count) == ("drop.late", "", "OPEN", 1)
    assert alert.evidence["expect_every"] == "26h"
    assert "20261125, the newest, is known since 2026-11-25 12:00 UTC" in alert.message
    end(service, drop("20261125"), "SUCCEEDED")
    assert look(service, drop("20261126"), START + 2 * DAY) == 2
    assert alerts(service) == [("drop.late", "RESOLVED")]
    look(service, drop("20261126"), START + 4 * DAY)
    assert alerts(service) == [("drop.late", "RESOLVED"), ("drop.late", "OPEN")]


@pytest.mark.parametrize("notice", ["marker", "manual", "0 3 * * *"])
def test_a_source_in_which_nothing_ever_came_is_late_however_it_is_noticed(films, notice):
    service = make_service(films, **source(notice=notice, expect_every="1h"))
    assert actions.must_look(watch_of(service), now=START)
    away = Seen(problem="There is no folder `movies`.")
    look(service, away, START + HOUR)
    assert alerts(service) == []
    look(service, away, START + HOUR + MINUTE)
    assert alerts(service) == [("drop.late", "OPEN")]
    assert Alert.objects.get().evidence["problem"] == "There is no folder `movies`."


def test_who_expects_drops_less_often_or_not_at_all_is_not_told_any_more(films):
    service = make_service(films, **source(expect_every="1h"))
    look(service, Seen(), START + 2 * HOUR)
    assert alerts(service) == [("drop.late", "OPEN")]
    service = service_update(actor=TESTER, service=service, spec={"source": {"expect_every": "3h"}})
    look(service, Seen(), START + 2 * HOUR)
    assert alerts(service) == [("drop.late", "RESOLVED")]
    look(service, Seen(), START + 4 * HOUR)
    service_update(actor=TESTER, service=service, spec={"source": {"expect_every": None}})
    look(service, Seen(), START + 5 * HOUR)
    assert alerts(service) == [("drop.late", "RESOLVED")] * 2


def test_of_two_workers_one_looks_and_of_two_looks_one_asks(films_service):
    first, second = watch_of(films_service), watch_of(films_service)
    assert [actions.watch_take(each, now=START) for each in (first, second)] == [True, False]
    found = [actions.source_looked(watch=each, seen=drop("1"), now=START) for each in (first, second)]
    assert [build and build.number for build in found] == [1, None]


def test_a_look_that_never_ends_costs_its_own_source_a_turn(films_service, books_service):
    actions.watches_begin(START)
    slow = selectors.due_watches(START)[0]
    assert actions.watch_take(slow, now=START)
    assert [each.service for each in selectors.due_watches(START)] == [books_service]
    later = START + timedelta(seconds=selectors.LOOK_SECONDS_MAX)
    assert len(selectors.due_watches(later)) == 2


def test_who_waits_longest_is_first_and_a_clock_that_was_set_back_stops_nobody(films_service, books_service):
    movies, novels = watch_of(films_service), watch_of(books_service)
    SourceWatch.objects.filter(pk=movies.pk).update(next_look_at=START - MINUTE)
    SourceWatch.objects.filter(pk=novels.pk).update(next_look_at=START - HOUR)
    assert list(selectors.due_watches(START)) == [novels, movies]
    SourceWatch.objects.filter(pk=novels.pk).update(next_look_at=START + DAY)
    assert list(selectors.due_watches(START)) == [movies, novels]


def test_a_service_tells_what_was_seen_of_its_source(films):
    service = make_service(films, **source(notice="0 3 * * *", expect_every="1h"))
    watch_of(service)
    assert selectors.service_view(service)["watch"] is None
    look(service, drop("1"))
    look(service, Seen(problem="There is no folder `movies`."), START + 2 * HOUR)
    assert selectors.service_view(service)["watch"] == {
        "drop": "1",
        "seen_at": START,
        "looked_at": START + 2 * HOUR,
        "problem": "There is no folder `movies`.",
        "due_at": START + 15 * HOUR,
        "late_since": START + 2 * HOUR,
    }


def test_a_deleted_service_is_not_looked_at(films_service):
    watch = watch_of(films_service)
    service_delete(actor=TESTER, service=films_service)
    assert list(selectors.due_watches(START)) == []
    assert actions.source_looked(watch=watch, seen=drop("1"), now=START) is None
    assert not Build.objects.exists()
    assert refreshed(films_service).deleted_at is not None
