"""Services of a group move together: who is built for, who waits for whom, and what becomes of those that cannot."""

from __future__ import annotations

import pytest

from alerts.models import Alert
from audit.models import AuditEvent
from catalog.actions import service_hold, service_release, service_update
from catalog.models import Service
from tenants.actions import quota_update
from tests.factories import TESTER, make_service
from tests.support.history import asked, claimed, expired, refreshed, resolved
from tests.workers.conftest import carried, finish, published, ring
from versions import actions
from versions.models import Build
from versions.outlook import release_outlook
from versions.queue import running_builds
from versions.views import build_view, service_view
from workers import sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

SHELF = {"group": "shelf"}


@pytest.fixture
def movies(films, node) -> Service:
    return live_alone(films, "movies")


@pytest.fixture
def series(films, movies) -> Service:
    """Both of them are in one group, each with a first version live."""
    series = live_alone(films, "series")
    return grouped(movies, series)


def test_a_build_that_knows_its_drop_has_the_others_of_its_group_built(movies, series, films, books, node):
    unbuilt = make_service(films, "shorts", versions=SHELF)
    apart = live_alone(films, "trailers")
    foreign = live_alone(books, "novels", versions=SHELF)
    build = published(movies)
    [move] = Build.objects.filter(state="PENDING")
    assert (move.service, move.force, move.drop_name) == (series, True, "")
    assert move.requested_by == "move with build 2 of movies"
    assert build_view(move)["moves_with"] == {"service": "movies", "build": 2}
    assert build_view(build)["moves_with"] is None
    assert "Its group moves with it: asks for build 2 of series." in lines(build)
    for other in (unbuilt, apart, foreign):
        assert not other.builds.filter(state="PENDING").exists()


def test_a_service_names_those_that_it_moves_with(movies, series, films):
    assert service_view(refreshed(movies))["moves_with"] == ["series"]
    assert service_view(make_service(films, "apart"))["moves_with"] == []


def test_a_move_asks_for_nobody_and_who_is_under_way_is_not_asked_again(movies, series, films):
    quota_update(actor=TESTER, tenant=films, builds_at_once_max=3)
    published(movies)
    move = carried(pending(series))
    assert Build.objects.filter(service=movies).count() == 2
    published(movies)
    assert list(Build.objects.filter(service=series).order_by("number"))[1:] == [move]


def test_the_same_drop_again_moves_nobody(movies, series):
    drop = movies.builds.get().drop_name
    Build.objects.filter(service=movies).update(spec_generation=refreshed(movies).spec_generation)
    assert resolved(claimed(asked(movies)), drop) == movies.builds.get(number=1)
    assert not Build.objects.filter(service=series, state="PENDING").exists()


def test_where_people_choose_the_drop_a_move_is_of_the_one_that_is_live(movies, series):
    source = {**refreshed(series).spec["source"], "notice": "manual"}
    service_update(actor=TESTER, service=refreshed(series), spec={"source": source})
    published(movies)
    assert pending(series).drop_name == series.builds.get(number=1).drop_name != ""


def test_a_build_waits_before_the_switch_until_all_have_come_as_far(movies, series):
    build = ring(published(movies))
    assert (build.state, build.parked, build.lease_until) == ("RUNNING", True, None)
    assert build_view(build)["step"] == "activate"
    told = "Waits for its group: build 2 of series, which waits for a worker."
    assert build.steps.get(name="activate").detail == told
    assert told in lines(build)

    move = carried(pending(series))
    assert ring(build).state == "RUNNING"
    assert live(movies, series) == (1, 1)
    assert finish(move).state == "SUCCEEDED"
    assert live(movies, series) == (1, 2)
    assert finish(build).state == "SUCCEEDED"
    assert live(movies, series) == (2, 2)


def test_it_says_at_which_step_the_other_is_and_how_far(movies, series):
    build = published(movies)
    claim = claimed(pending(series))
    actions.step_start(claim, "build_index")
    actions.step_progress(claim, "build_index", progress=0.5)
    told = "Waits for its group: build 2 of series, which is at build_index (50%)."
    assert ring(build).steps.get(name="activate").detail == told


def test_two_that_stand_before_the_switch_both_pass(movies, series):
    """Neither has seen the other there when it began to wait."""
    build = ring(published(movies))
    Build.objects.filter(pk=build.pk).update(context={**build.context, "activate": ""})
    move = ring(carried(pending(series)))
    assert move.parked
    assert (ring(build).state, ring(move).state) == ("SUCCEEDED", "SUCCEEDED")


def test_a_build_that_waits_keeps_no_other_of_its_tenant_from_beginning(movies, series, films):
    quota_update(actor=TESTER, tenant=films, builds_at_once_max=1)
    build = ring(published(movies))
    assert running_builds().count() == 0
    move = carried(pending(series))
    assert running_builds().count() == 1
    assert finish(move).state == finish(build).state == "SUCCEEDED"


@pytest.mark.parametrize("ended", ["FAILED", "CANCELLED", "HELD"])
def test_when_the_other_stops_it_is_held_and_goes_on_by_itself_when_that_is_mended(movies, series, ended):
    build = ring(published(movies))
    move = stopped(pending(series), ended)
    build = ring(build)
    assert (build.state, build.error_reason) == ("HELD", "group.incomplete")
    what = {"FAILED": "has failed (engine.crashed)", "CANCELLED": "is cancelled (build.cancelled)"}
    what["HELD"] = "is held (guard.min_recall)"
    assert f"series, which cannot: build 2 of series {what[ended]}." in build.error_message
    assert build_view(build)["error"]["next_step"].startswith("Mend what stopped the other build")
    alert = Alert.objects.get(reason="group.incomplete", subject="build 2")
    assert (alert.state, live(movies, series)) == ("OPEN", (1, 1))
    sweep.tend_held_builds()
    assert state(build) == "HELD"

    if ended == "FAILED":
        actions.build_retry(actor=TESTER, build=move)
    elif ended == "CANCELLED":
        move = asked(series)
    else:
        actions.build_override(actor=TESTER, build=move, reason="It is meant.")
    sweep.tend_held_builds()
    alert.refresh_from_db()
    assert (state(build), alert.state) == ("PENDING", "RESOLVED")
    assert ring(build).parked
    assert finish(brought_to_the_switch(move)).state == "SUCCEEDED"
    assert finish(build).state == "SUCCEEDED"
    assert live(movies, series) == (2, 2)


def test_a_build_that_is_held_for_another_one_says_what_stops_that_one_by_now(movies, series):
    build = ring(published(movies))
    move = stopped(pending(series), "HELD")
    build = ring(build)
    sweep.tend_held_builds()
    assert Alert.objects.get(reason="group.incomplete").count == 1, "nothing new is said while nothing changes"
    Build.objects.filter(pk=move.pk).update(error_reason="activate.bad_drop")
    sweep.tend_held_builds()
    build.refresh_from_db()
    told = "series, which cannot: build 2 of series is held (activate.bad_drop)."
    assert (build.state, build.error_reason) == ("HELD", "group.incomplete")
    alert = Alert.objects.get(reason="group.incomplete")
    for said in (build.error_message, alert.message, build.steps.get(name="activate").detail):
        assert told in said
    assert told in lines(build)[-1]
    actions.build_override(actor=TESTER, build=build, reason="Series can follow tomorrow.")
    assert told in AuditEvent.objects.get(verb="build.override").before["message"]
    assert finish(build).state == "SUCCEEDED"


def test_a_build_looks_again_when_fewer_or_more_would_be_left_behind(movies, series, films):
    grouped(live_alone(films, "shorts"))
    build = published(movies)
    stopped(pending(series), "FAILED")
    build = ring(build)
    assert build.error_message.startswith("It moves together with series, which")
    shorts = stopped(pending(Service.objects.get(name="shorts")), "FAILED")
    sweep.tend_held_builds()
    build = ring(build)
    assert build.error_message.startswith("It moves together with series, shorts, which")
    actions.build_retry(actor=TESTER, build=shorts)
    sweep.tend_held_builds()
    assert ring(build).error_message.startswith("It moves together with series, which")


def test_an_override_switches_without_the_other_and_is_audited(movies, series):
    build = ring(published(movies))
    stopped(pending(series), "FAILED")
    build = ring(build)
    assert "an override switches without series." in build.error_message
    actions.build_override(actor=TESTER, build=build, reason="Series can follow tomorrow.")
    assert finish(build).state == "SUCCEEDED"
    assert live(movies, series) == (2, 1)
    event = AuditEvent.objects.get(verb="build.override")
    assert (event.reason, event.before["reason"]) == ("Series can follow tomorrow.", "group.incomplete")


def test_an_override_lets_nobody_else_be_left_behind(movies, series, films):
    shorts = grouped(live_alone(films, "shorts"))
    build = published(movies)
    stopped(pending(series), "FAILED")
    build = ring(build)
    actions.build_override(actor=TESTER, build=build, reason="Series can follow tomorrow.")
    assert (ring(build).state, Build.objects.get(pk=build.pk).parked) == ("RUNNING", True)
    stopped(pending(shorts), "FAILED")
    build = ring(build)
    assert (build.state, build.error_reason) == ("HELD", "group.incomplete")
    assert "without series, shorts" in build.error_message


def test_a_newer_drop_ends_a_build_that_waits_and_joins(movies, series):
    older = ring(published(movies))
    move = carried(pending(series))
    newer = published(movies)
    older.refresh_from_db()
    assert (older.state, older.error_reason) == ("CANCELLED", "build.superseded")
    assert ring(move).steps.get(name="activate").detail.startswith("Waits for its group: build 3 of movies")
    assert finish(newer).state == "SUCCEEDED"
    assert finish(move).state == "SUCCEEDED"
    assert live(movies, series) == (3, 2)


def test_a_service_on_hold_holds_its_group_until_it_is_released(movies, series):
    service_hold(actor=TESTER, service=refreshed(series), reason="Launch week.")
    build, move = published(movies), carried(pending(series))
    assert ring(move).error_reason == "activate.service_held"
    assert ring(build).error_reason == "group.incomplete"
    assert "goes live by itself with its group (shelf)." in release_outlook(refreshed(series))
    service_release(actor=TESTER, service=refreshed(series))
    sweep.tend_held_builds()
    sweep.tend_held_builds()
    assert ring(move).parked
    assert (finish(build).state, finish(move).state) == ("SUCCEEDED", "SUCCEEDED")
    assert live(movies, series) == (2, 2)


def test_when_a_person_activates_what_waits_for_approval_the_group_follows(movies, series):
    service_update(actor=TESTER, service=refreshed(series), spec={"versions": {"activate": "on_approval"}})
    build, move = published(movies), carried(pending(series))
    assert ring(move).error_reason == "approval.required"
    assert ring(build).error_reason == "group.incomplete"
    actions.version_activate(actor=TESTER, service=series, number=2)
    sweep.tend_held_builds()
    assert (finish(build).state, finish(move).state) == ("SUCCEEDED", "SUCCEEDED")
    assert live(movies, series) == (2, 2)


def test_who_was_never_live_and_fails_keeps_nobody(movies, films, node):
    shorts = make_service(films, "shorts", versions=SHELF)
    grouped(movies)
    build = published(movies)
    first = asked(shorts)
    assert ring(build).parked
    stopped(first, "FAILED")
    assert finish(build).state == "SUCCEEDED"


def test_what_failed_before_it_was_asked_for_keeps_nobody(movies, series):
    stopped(asked(series), "FAILED")
    build = ring(published(movies))
    assert build.parked, build.error_message


def test_a_worker_that_is_killed_in_the_wait_leaves_nothing_that_another_cannot_go_on_with(movies, series):
    build = ring(published(movies))
    Build.objects.filter(pk=build.pk).update(wake_at="2020-01-01T00:00:00+00:00")
    assert actions.build_claim(build.pk, owner="worker that is killed") is not None
    expired(build)
    assert ring(build).parked
    move = carried(pending(series))
    assert (finish(move).state, finish(build).state) == ("SUCCEEDED", "SUCCEEDED")
    assert live(movies, series) == (2, 2)


def live_alone(tenant, name: str, **blocks: object) -> Service:
    service = make_service(tenant, name, **blocks)
    assert finish(published(service)).state == "SUCCEEDED"
    return service


def grouped(*services: Service) -> Service:
    """All of them in one group; the last one."""
    for service in services:
        service_update(actor=TESTER, service=refreshed(service), spec={"versions": SHELF})
    return services[-1]


def pending(service: Service) -> Build:
    return Build.objects.get(service=service, state="PENDING")


def stopped(build: Build, how: str) -> Build:
    """`build` on its way to what `how` says, as if it had come as far as its index."""
    if how == "CANCELLED":
        return actions.build_cancel(actor=TESTER, build=build)
    claim = claimed(build)
    actions.step_start(claim, "build_index")
    if how == "FAILED":
        actions.build_fail(claim, reason="engine.crashed", owner="platform", message="It was killed.")
    else:
        values = {"evidence": [], "report": {}, "context": {}}
        actions.build_hold(claim, "build_index", reason="guard.min_recall", message="Too low.", **values)
    return Build.objects.get(pk=build.pk)


def brought_to_the_switch(build: Build) -> Build:
    build.refresh_from_db()
    assert build.state == "PENDING"
    build.steps.all().delete()
    return carried(build)


def live(*services: Service) -> tuple[int | None, ...]:
    return tuple(refreshed(service).live_version for service in services)


def state(build: Build) -> str:
    return Build.objects.get(pk=build.pk).state


def lines(build: Build) -> list[str]:
    return list(build.lines.values_list("text", flat=True))
