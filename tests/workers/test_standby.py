"""Cold standby: what is not live is unloaded, and loaded and checked again before anything goes back to it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from alerts.models import Alert
from catalog.actions import service_update
from common.errors import Conflict, FailedPrecondition
from documents.store import ROUTES
from recallpb.internal.v1 import documents_pb2
from tests.factories import TESTER, make_service
from tests.support.history import activated, made_version, refreshed
from tests.support.paper_node import PaperNode
from tests.workers.conftest import finish, published
from versions import actions, selectors
from versions.models import Activation, Node, Reload, Replica, Version
from versions.views import activation_view, version_view
from workers import reports, standby, sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
LONG_AGO = "2020-01-01T00:00:00+00:00"
ROUNDS_MAX = 200


@pytest.fixture
def cold(films, settings):
    """A service whose previous versions are unloaded at once."""
    settings.COLD_AFTER_SECONDS = settings.RETIRE_DRAIN_SECONDS = 0
    return make_service(films, versions={"standby": "cold"}, guards={"max_p99_ratio": None})


@pytest.fixture
def two(cold, node) -> Version:
    """Version 1 was live and version 2 is; returns version 1, unloaded."""
    for _ in range(2):
        assert finish(published(cold)).state == "SUCCEEDED"
    until(lambda: replica(1).state == "GONE")
    return selectors.version_get(cold, 1)


def replica(number: int) -> Replica:
    return Replica.objects.get(version__number=number)


def until(true, *, cool: bool = True) -> None:
    """Ticks of the sweeper until `true` holds; those that `cool` come less often."""
    for _ in range(ROUNDS_MAX):
        reports.collect()
        standby.carry_on_reloads()
        if cool:
            standby.cool_versions()
        if true():
            return
    raise AssertionError(list(Replica.objects.values()) + list(Reload.objects.values()))


def routed(valkey) -> list[int]:
    route = documents_pb2.Route.FromString(valkey.client().hget(ROUTES.docs_key, "films/movies") or b"")
    return [version.version for version in route.versions]


def test_the_previous_version_is_unloaded_and_stays_the_rollback_target(two, cold, node, valkey):
    assert node.placed == [2]
    assert routed(valkey) == [2]
    assert selectors.rollback_target(refreshed(cold)) == two
    assert selectors.retirable(refreshed(cold), keep=2) == []
    view = version_view(selectors.version_get(cold, 1))
    assert (view["cold"], view["state"], view["activatable"]) == (True, "READY", True)
    assert "loaded and checked before it answers" in view["why"]


def test_a_rollback_loads_and_checks_it_first_and_says_how_long_that_takes(two, cold, node, valkey):
    asked = actions.version_rollback(actor=TESTER, service=cold, from_version=2, reason="half the ids are gone")
    told = activation_view(actions.activation_await(activation=asked))
    assert (told["state"], told["to_version"], told["changed"]) == ("LOADING", 1, True)
    assert "Version 2 goes on answering until then. It took " in told["loading"]
    service = refreshed(cold)
    assert (service.live_version, service.held_at is not None) == (2, True)
    again = actions.version_rollback(actor=TESTER, service=cold, from_version=2, reason="a second click")
    assert (again.changed, again.loading != "", Reload.objects.count()) == (False, True, 1)
    until(lambda: refreshed(cold).live_version == 1)
    assert node.executed[-2:] == [f"reload-{Reload.objects.get().pk}-{kind}" for kind in ("warm", "check")]
    left, activation = selectors.version_get(cold, 2), Activation.objects.order_by("-pk").first()
    assert (left.bad_reason, activation.kind, activation.actor) == ("half the ids are gone", "rollback", "tests")
    assert refreshed(cold).held_reason == "Rolled back from version 2: half the ids are gone."
    assert (replica(1).orders, selectors.version_get(cold, 1).cold_at, routed(valkey)) == ([], None, [1])


def test_a_replica_that_answers_wrongly_stops_the_rollback_and_what_is_live_stays(two, cold, node):
    node.check_error = "0.500 of the known neighbours were found"
    actions.version_rollback(actor=TESTER, service=cold)
    until(lambda: Reload.objects.get().ended_at is not None, cool=False)
    assert refreshed(cold).live_version == 2
    assert replica(1).state == "READY"
    again = actions.version_rollback(actor=TESTER, service=cold)
    assert (again.state, again.changed, refreshed(cold).live_version) == ("LOADING", True, 2)
    until(lambda: Reload.objects.filter(ended_at__isnull=True).count() == 0)
    alert = Alert.objects.get(reason="version.reload_failed")
    assert (alert.severity, alert.subject, "0.500 of the known" in alert.message) == ("critical", "version 1", True)
    until(lambda: replica(1).state == "GONE")
    node.check_error = ""
    actions.version_rollback(actor=TESTER, service=cold)
    until(lambda: refreshed(cold).live_version == 1)
    alert.refresh_from_db()
    assert alert.state == "RESOLVED"


def test_a_node_that_cannot_load_it_stops_the_rollback(two, cold, node):
    node.load_error = "cannot map the file"
    actions.version_rollback(actor=TESTER, service=cold)
    until(lambda: Reload.objects.get().ended_at is not None)
    assert (refreshed(cold).live_version, Reload.objects.get().failure) == (2, "local: cannot map the file")
    assert refreshed(cold).held_reason == "The rollback did not happen: local: cannot map the file"
    node.load_error = ""
    actions.version_rollback(actor=TESTER, service=cold)
    assert refreshed(cold).held_reason == "Rolling back from version 2: version 1 is being loaded."
    until(lambda: refreshed(cold).live_version == 1, cool=False)
    assert Alert.objects.get(reason="version.reload_failed").state == "RESOLVED"


def test_another_switch_ends_the_load_and_switches_nothing_back(two, cold, node):
    actions.version_rollback(actor=TESTER, service=cold)
    third = made_version(cold)
    activated(third)
    until(lambda: Reload.objects.get().ended_at is not None)
    assert refreshed(cold).live_version == 3
    assert Reload.objects.get().failure == "Another switch came first: version 3 is live."
    assert refreshed(cold).held_reason == "The rollback did not happen: Another switch came first: version 3 is live."
    assert not Alert.objects.filter(reason="version.reload_failed").exists()


def test_a_person_may_activate_a_cold_version_which_is_loaded_first(two, cold, node):
    asked = actions.version_activate(actor=TESTER, service=cold, number=1)
    assert (asked.state, refreshed(cold).held_at) == ("LOADING", None)
    with pytest.raises(Conflict, match="is being loaded already"):
        actions.version_rollback(actor=TESTER, service=cold)
    until(lambda: refreshed(cold).live_version == 1)
    assert selectors.version_get(cold, 2).bad_at is None


def test_an_activation_of_a_cold_version_compares_the_generation_too(two, cold):
    with pytest.raises(Conflict, match="moved meanwhile"):
        actions.version_activate(actor=TESTER, service=cold, number=1, expected_live_generation=1)
    assert Reload.objects.count() == 0


def test_before_it_is_unloaded_a_rollback_takes_no_time(cold, node, settings):
    for _ in range(2):
        finish(published(cold))
    assert actions.version_cool(version=selectors.version_get(cold, 1))
    activation = actions.version_rollback(actor=TESTER, service=cold)
    assert (activation.loading, refreshed(cold).live_version) == ("", 1)
    assert actions.version_unload_cold(version=selectors.version_get(cold, 1)) == 0
    assert replica(1).state == "READY"


def test_what_was_live_stays_hot_for_a_while_after_a_switch(cold, node, settings):
    settings.COLD_AFTER_SECONDS = 600
    for _ in range(2):
        finish(published(cold))
    standby.cool_versions()
    assert selectors.version_get(cold, 1).cold_at is None
    Activation.objects.update(at=LONG_AGO)
    standby.cool_versions()
    assert selectors.version_get(cold, 1).cold_at is not None


def test_a_service_that_is_hot_again_has_its_previous_version_loaded(two, cold, node, valkey):
    service_update(actor=TESTER, service=cold, spec={"versions": {"standby": "hot"}})
    until(lambda: selectors.version_get(cold, 1).cold_at is None)
    assert (sorted(node.placed), routed(valkey), refreshed(cold).live_version) == ([1, 2], [2, 1], 2)
    assert actions.version_rollback(actor=TESTER, service=cold).loading == ""


@pytest.mark.parametrize("kind", ["", "rollback"])
def test_a_cold_version_is_loaded_only_where_it_fits_and_what_is_live_stays(two, cold, node, kind):
    """Of the 1.1 GB that are free 5 % of 16 GiB are left to others, and 136 MB to version 2, which holds none yet."""
    node.memory_available_bytes = 1_100 * 10**6
    until(lambda: Node.objects.get().memory_available_bytes == 1_100 * 10**6, cool=False)
    if kind:
        actions.version_rollback(actor=TESTER, service=cold)
    else:
        service_update(actor=TESTER, service=cold, spec={"versions": {"standby": "hot"}})
    until(lambda: Reload.objects.filter(ended_at__isnull=False).exists())
    alert = Alert.objects.get(reason="version.reload_failed")
    assert "A replica of version 1 needs 136 MB of memory; on local 105 MB are free for it. Add a node" in alert.message
    assert (node.placed, replica(2).state, refreshed(cold).live_version) == ([2], "READY", 2)
    node.memory_available_bytes = 2**33
    until(lambda: Node.objects.get().memory_available_bytes == 2**33, cool=False)
    actions.version_rollback(actor=TESTER, service=cold)
    until(lambda: refreshed(cold).live_version == 1, cool=False)


def test_a_rollback_takes_over_a_load_that_nobody_asked_for(two, cold, node):
    service_update(actor=TESTER, service=cold, spec={"versions": {"standby": "hot"}})
    standby.cool_versions()
    assert Reload.objects.get().kind == ""
    asked = actions.version_rollback(actor=TESTER, service=cold, reason="half the ids are gone")
    assert (asked.state, asked.changed, refreshed(cold).held_at is None) == ("LOADING", True, False)
    until(lambda: refreshed(cold).live_version == 1)
    assert selectors.version_get(cold, 2).bad_at is not None
    assert Reload.objects.filter(ended_at__isnull=True).count() == 0


def test_an_approval_in_the_morning_loads_what_the_night_has_unloaded(films, node):
    """A held build gives its memory back after ten minutes; the command that approves it works all the same."""
    service = make_service(films, versions={"activate": "on_approval"})
    build = finish(published(service))
    assert build.error_reason == "approval.required"
    build.steps.filter(state="HELD").update(ended_at=timezone.now() - timedelta(minutes=20))
    sweep.tend_held_builds()
    until(lambda: replica(1).state == "GONE")
    view = version_view(selectors.version_get(service, 1))
    assert (view["activatable"], view["cold"]) == (True, False)
    asked = actions.version_activate(actor=TESTER, service=service, number=1, reason="Looks good.")
    assert (asked.state, asked.loading.startswith("Version 1 is not loaded. It is being loaded")) == ("LOADING", True)
    until(lambda: sweep.tend_held_builds() is None and refreshed(service).live_version == 1)
    build.refresh_from_db()
    assert (build.state, finish(build).state) == ("PENDING", "SUCCEEDED")
    assert Activation.objects.get().reason == "Looks good."


def test_what_has_to_be_checked_first_is_not_loaded_by_a_person(films, node):
    service = make_service(films, guards={"min_recall": 0.95})
    node.rows_found = 10
    build = finish(published(service))
    assert build.error_reason == "guard.min_recall"
    build.steps.filter(state="HELD").update(ended_at=timezone.now() - timedelta(minutes=20))
    sweep.tend_held_builds()
    with pytest.raises(FailedPrecondition) as refused:
        actions.version_activate(actor=TESTER, service=service, number=1)
    assert (refused.value.reason, Reload.objects.count()) == ("VERSION_NOT_CHECKED", 0)


def test_a_rollback_loads_a_hot_version_whose_node_is_lost_on_another_and_checks_it(films, valkey):
    service = make_service(films, guards={"max_p99_ratio": None})
    with PaperNode(valkey, "lost"):
        assert finish(published(service)).state == "SUCCEEDED"
    with PaperNode(valkey) as node:
        Node.objects.filter(name="lost").update(seen_at=LONG_AGO)
        assert finish(published(service)).state == "SUCCEEDED"
        assert node.placed == [2]
        asked = actions.version_rollback(actor=TESTER, service=service, from_version=2)
        assert (asked.state, asked.to_version) == ("LOADING", 1)
        until(lambda: refreshed(service).live_version == 1)
        assert sorted(node.placed) == [1, 2]
        assert node.executed[-2:] == [f"reload-{Reload.objects.get().pk}-{kind}" for kind in ("warm", "check")]


def test_the_build_of_a_version_that_went_live_goes_on_though_whoever_switched_died_right_after(films, node):
    service = make_service(films, versions={"activate": "on_approval"})
    build = finish(published(service))
    Version.objects.update(activated_at=LONG_AGO)
    sweep.tend_held_builds()
    build.refresh_from_db()
    assert build.state == "PENDING"


def test_the_live_version_is_never_cooled(two, cold):
    assert actions.version_cool(version=selectors.version_get(cold, 2)) is False
    assert selectors.version_get(cold, 2).cold_at is None


def test_a_cold_version_retires_as_any_other(two, cold, node, settings):
    for _ in range(2):
        finish(published(cold))
    assert selectors.version_get(cold, 1).state == "RETIRING"
    settings.RETIRE_FILES_SECONDS = 0
    sweep.retire_versions()
    assert selectors.version_get(cold, 1).state == "RETIRED"
    assert isinstance(node, PaperNode)
