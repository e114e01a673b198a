"""The switch of the live pointer, forwards and back."""

from __future__ import annotations

import pytest
from django.db import connection

from audit.models import AuditEvent
from catalog.actions import service_hold, service_release
from common.actor import Actor
from common.errors import Conflict, FailedPrecondition, NotFound
from documents.store import Stamp
from tests.factories import TESTER
from tests.support.history import (
    activated,
    expired,
    heard_of,
    held,
    made_version,
    refreshed,
    report_all_ready,
    unfinished_version,
)
from tests.versions.test_claims import race
from versions import actions, selectors
from versions.models import Activation, Build, Node, Replica, Version
from versions.routes.messages import route_message
from versions.selectors import activation_view, service_view, version_view

pytestmark = pytest.mark.django_db
LONG_AGO = "2020-01-01T00:00:00+00:00"


def activate(service, number, **values):
    return actions.version_activate(actor=TESTER, service=service, number=number, **values)


def roll_back(service, **values):
    return actions.version_rollback(actor=TESTER, service=service, **values)


def test_an_activation_moves_the_pointer_and_both_generations(films_service):
    made_version(films_service)
    before = refreshed(films_service)
    activation = activate(films_service, 1, reason="first")
    after = refreshed(films_service)
    assert (after.live_version, after.live_generation) == (1, 1)
    assert after.route_generation == before.route_generation + 1
    assert (activation.from_version, activation.to_version, activation.state) == (None, 1, "PENDING")
    assert activation.route_generation == after.route_generation + after.tenant.route_generation
    event = AuditEvent.objects.get(verb="service.activate")
    assert (event.actor, event.target, event.reason) == ("tests", "version 1", "first")
    assert (event.before["live_version"], event.after["live_version"]) == (None, 1)
    assert version_view(selectors.version_get(films_service, 1))["live"] is True
    assert service_view(after)["live"] == {"version": 1, "items": 100, "recall": 1.0, "p99_ms": None}


def test_activating_what_is_live_changes_nothing(films_service):
    activated(made_version(films_service))
    again = activate(films_service, 1)
    assert (again.changed, activation_view(again)["changed"], Activation.objects.count()) == (False, False, 1)


def test_it_refuses_a_version_that_is_unknown_or_failed(films_service, books_service):
    activated(made_version(films_service))
    with pytest.raises(NotFound):
        activate(films_service, 7)
    made_version(films_service, loaded=False)
    Version.objects.filter(number=2).update(state="FAILED")
    with pytest.raises(FailedPrecondition) as refused:
        activate(films_service, 2)
    assert refused.value.reason == "VERSION_NOT_READY"
    made_version(books_service)
    assert (refreshed(films_service).live_version, Activation.objects.count()) == (1, 1)


def clear(service, reason="a legal order"):
    return actions.live_clear(actor=TESTER, service=service, reason=reason)


def test_clearing_leaves_nothing_live_and_the_service_on_hold(films_service):
    activated(made_version(films_service))
    activated(made_version(films_service))
    before = refreshed(films_service)
    after = clear(films_service)
    assert (after.live_version, after.live_generation) == (None, before.live_generation + 1)
    assert after.route_generation == before.route_generation + 1
    assert (after.held_at is not None, after.held_reason) == (True, "Cleared: a legal order.")
    assert route_message(after, Stamp(1, 1)).versions == [], "who names a version is not answered either"
    event = AuditEvent.objects.get(verb="service.clear")
    assert (event.actor, event.reason) == ("tests", "a legal order")
    assert (event.before["live_version"], event.after["live_version"]) == (2, None)


def test_a_cleared_service_names_no_candidate_either(films_service):
    activated(made_version(films_service))
    made_version(films_service)
    assert [version.version for version in route_message(refreshed(films_service), Stamp(1, 1)).candidates] == [2]
    cleared = route_message(clear(films_service), Stamp(1, 1))
    assert (list(cleared.versions), list(cleared.candidates)) == ([], [])


def test_clearing_what_is_empty_changes_nothing(films_service):
    assert clear(films_service).live_generation == 0
    activated(made_version(films_service))
    generation = clear(films_service).live_generation
    assert clear(films_service).live_generation == generation
    assert AuditEvent.objects.filter(verb="service.clear").count() == 1


def test_what_was_cleared_stays_and_a_person_can_bring_it_back(films_service):
    activated(made_version(films_service))
    activated(made_version(films_service))
    clear(films_service)
    assert selectors.retirable(refreshed(films_service), keep=1) == []
    with pytest.raises(FailedPrecondition) as refused:
        roll_back(films_service)
    assert refused.value.reason == "NO_LIVE_VERSION"
    activation = activate(films_service, 1)
    assert (activation.from_version, activation.to_version) == (None, 1)
    after = refreshed(films_service)
    assert [version.version for version in route_message(after, Stamp(1, 1)).versions] == [1, 2]


def test_no_build_fills_a_cleared_service_by_itself(films_service):
    activated(made_version(films_service))
    claim, _ = unfinished_version(films_service)
    expected = refreshed(films_service).live_generation
    clear(films_service)
    with pytest.raises(FailedPrecondition) as refused:
        activate(films_service, 2, claim=claim)
    assert refused.value.reason == "SERVICE_HELD"
    service_release(actor=TESTER, service=refreshed(films_service))
    with pytest.raises(Conflict) as moved:
        activate(films_service, 2, claim=claim, expected_live_generation=expected)
    assert moved.value.reason == "LIVE_MOVED"
    assert activate(films_service, 2, claim=claim).changed


def test_it_compares_the_generation_and_not_the_version(films_service):
    """After 1 -> 2 -> 1 the version is the same and the world is not."""
    made_version(films_service)
    made_version(films_service)
    activate(films_service, 1)
    expected = refreshed(films_service).live_generation
    activate(films_service, 2)
    activate(films_service, 1)
    made_version(films_service)
    with pytest.raises(Conflict) as refused:
        activate(films_service, 3, expected_live_generation=expected)
    assert refused.value.reason == "LIVE_MOVED"
    assert refreshed(films_service).live_version == 1


def test_a_build_does_not_activate_while_the_service_is_on_hold_and_a_person_does(films_service):
    claim, _ = unfinished_version(films_service)
    service_hold(actor=TESTER, service=films_service, reason="Looking into it.")
    with pytest.raises(FailedPrecondition) as refused:
        activate(films_service, 1, claim=claim)
    assert refused.value.reason == "SERVICE_HELD"
    actions.build_succeed(claim)
    assert activate(films_service, 1).changed
    claim, _ = unfinished_version(films_service)
    with pytest.raises(FailedPrecondition, match="on hold"):
        activate(films_service, 2, claim=claim, overridden=True)  # Of no hold: it was overridden before this one.
    assert activate(refreshed(films_service), 2, claim=claim, overridden=True).changed


def test_a_build_that_shall_be_cancelled_or_was_taken_over_switches_nothing(films_service):
    claim, version = unfinished_version(films_service)
    actions.build_cancel(actor=TESTER, build=version.build)
    with pytest.raises(actions.CancelAsked):
        activate(films_service, 1, claim=claim)
    stale, version = unfinished_version(films_service)
    expired(version.build)
    assert actions.build_claim(version.build_id, owner="worker-2") is not None
    with pytest.raises(actions.FenceLost):
        activate(films_service, 2, claim=stale)
    assert (refreshed(films_service).live_version, Activation.objects.count()) == (None, 0)


def test_a_rollback_goes_to_the_newest_good_version_marks_the_bad_one_and_holds(films_service):
    for _ in range(3):
        activated(made_version(films_service))
    activation = roll_back(films_service, from_version=3, reason="half the ids are gone")
    service = refreshed(films_service)
    assert (service.live_version, activation.kind, activation.from_version) == (2, "rollback", 3)
    assert service.held_reason == "Rolled back from version 3: half the ids are gone."
    bad = selectors.version_get(films_service, 3)
    assert (bad.bad_reason, version_view(bad)["bad"]["reason"]) == ("half the ids are gone",) * 2
    assert AuditEvent.objects.get(verb="service.rollback").reason == "half the ids are gone"


def test_a_second_click_does_no_harm(films_service):
    for _ in range(3):
        activated(made_version(films_service))
    first = roll_back(films_service, from_version=3)
    again = roll_back(films_service, from_version=3)
    assert (again.pk, again.changed, first.changed) == (first.pk, False, True)
    assert refreshed(films_service).live_version == 2
    assert AuditEvent.objects.filter(verb="service.rollback").count() == 1


def test_it_passes_over_versions_that_are_bad_never_were_live_or_are_not_loaded(films_service):
    good, bad, unloaded = (activated(made_version(films_service)) for _ in range(3))
    made_version(films_service)
    activated(made_version(films_service))
    Version.objects.filter(pk=bad.pk).update(bad_at=bad.created_at)
    Replica.objects.filter(version=unloaded).update(state="LOADING")
    assert selectors.rollback_target(refreshed(films_service)) == good
    assert roll_back(films_service).to_version == good.number


def test_it_goes_nowhere_but_where_the_confirmation_said(films_service):
    for _ in range(3):
        activated(made_version(films_service))
    Version.objects.filter(number=2).update(bad_at=LONG_AGO)
    with pytest.raises(Conflict) as refused:
        roll_back(films_service, from_version=3, expected_target=2)
    assert refused.value.reason == "ROLLBACK_TARGET_MOVED"
    assert refreshed(films_service).live_version == 3
    assert roll_back(films_service, from_version=3, expected_target=1).to_version == 1


def test_where_no_older_version_is_loaded_any_more_the_newest_good_one_is_loaded_first(films_service):
    """Its node is lost, and nobody has loaded it elsewhere yet."""
    for _ in range(3):
        activated(made_version(films_service))
    Replica.objects.exclude(version__number=3).update(node=heard_of("second"))
    Node.objects.filter(name="second").update(seen_at=LONG_AGO)
    asked = roll_back(films_service, from_version=3)
    assert (asked.state, asked.to_version, refreshed(films_service).live_version) == ("LOADING", 2, 3)
    assert [version.number for version in selectors.routable_versions(refreshed(films_service))] == [3, 1]


def test_there_must_be_something_to_go_back_to(films_service):
    with pytest.raises(FailedPrecondition) as refused:
        roll_back(films_service)
    assert refused.value.reason == "NO_LIVE_VERSION"
    activated(made_version(films_service))
    with pytest.raises(FailedPrecondition) as refused:
        roll_back(films_service, from_version=1)
    assert refused.value.reason == "NOTHING_TO_ROLL_BACK"
    assert refreshed(films_service).held_at is None


def test_who_activates_a_bad_version_by_hand_says_that_it_is_good(films_service):
    activated(made_version(films_service))
    activated(made_version(films_service))
    roll_back(films_service)
    activate(films_service, 2)
    assert selectors.version_get(films_service, 2).bad_at is None


def test_activating_by_hand_what_a_hold_kept_back_lets_its_build_go_on(films_service):
    version = made_version(films_service)
    build = version.build
    Build.objects.filter(pk=build.pk).update(state="PENDING")
    held(build, reason="activate.service_held")
    activate(films_service, 1)
    build.refresh_from_db()
    assert (build.state, build.error_reason) == ("PENDING", "")


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "HELD"])
def test_a_version_whose_build_has_not_checked_it_is_not_made_live_by_a_click(films_service, state):
    version = made_version(films_service)
    Build.objects.filter(pk=version.build_id).update(state="PENDING")
    if state == "HELD":
        held(version.build, reason="guard.max_p99_ratio")
    Build.objects.filter(pk=version.build_id).update(state=state)
    with pytest.raises(FailedPrecondition) as refused:
        activate(films_service, 1)
    assert refused.value.reason == "VERSION_NOT_CHECKED"
    assert ("Override" if state == "HELD" else "Wait") in refused.value.message
    assert version_view(selectors.version_get(films_service, 1))["activatable"] is False
    assert refreshed(films_service).live_version is None


def test_a_checked_version_may_be_activated_and_what_was_live_may_be_again(films_service):
    made_version(films_service)
    views = lambda: [version_view(each)["activatable"] for each in selectors.versions_of(films_service)]  # noqa: E731
    assert views() == [True]
    activate(films_service, 1)
    assert views() == [False]
    activated(made_version(films_service))
    Build.objects.filter(number=1).update(state="FAILED")
    assert views() == [False, True]
    assert activate(films_service, 1).changed


def test_a_switch_that_happened_is_no_conflict_though_somebody_else_moves_the_held_build(films_service, caplog):
    version = made_version(films_service)
    Build.objects.filter(pk=version.build_id).update(state="PENDING")
    held(version.build, reason="activate.service_held")

    caplog.set_level("INFO")

    def overtake(execute, sql, params, many, context):
        """Somebody cancels the build between the look at it and its resumption."""
        if sql.startswith('UPDATE "versions_build"') and "PENDING" in params:
            context["connection"].cursor().cursor.execute("UPDATE versions_build SET state = 'CANCELLED'")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(overtake):
        assert activate(films_service, 1).changed
    assert refreshed(films_service).live_version == 1
    assert "moved before it could be resumed" in caplog.text


def test_a_version_on_a_silent_node_only_is_not_switched_to_unless_every_node_is_silent(films_service):
    activated(made_version(films_service))
    lost = made_version(films_service)
    local, second = Node.objects.get(name="local"), heard_of("second")
    Replica.objects.filter(version=lost).update(node=second)
    activate(films_service, 2)
    activated(made_version(films_service))
    Node.objects.filter(pk=second.pk).update(seen_at=LONG_AGO)

    asked = activate(films_service, 2)
    assert (asked.state, refreshed(films_service).live_version) == ("LOADING", 3)
    assert asked.loading.startswith("Version 2 is not loaded. It is being loaded, warmed up and checked now")
    actions.reload_end(reload=selectors.open_reload(films_service), actor=TESTER)
    Version.objects.filter(pk=lost.pk).update(cold_at=None, unrouted_at=None)
    assert selectors.rollback_target(refreshed(films_service)).number == 1

    Node.objects.filter(pk=local.pk).update(seen_at=LONG_AGO)
    assert roll_back(films_service).to_version == 2, "nobody is heard, so the rows are trusted"


def test_a_deleted_service_takes_no_activation(films_service):
    made_version(films_service)
    type(films_service).objects.filter(pk=films_service.pk).update(deleted_at=films_service.created_at)
    with pytest.raises(Conflict):
        activate(films_service, 1)


@pytest.mark.django_db(transaction=True)
def test_of_activations_at_once_each_that_won_has_a_generation_of_its_own(films_service):
    for _ in range(4):
        made_version(films_service)
    outcomes = race([lambda n=n: activate(films_service, n, expected_live_generation=0) for n in range(1, 5)])
    won = [outcome for outcome in outcomes if isinstance(outcome, Activation)]
    assert len(won) == 1
    assert outcomes.count("LIVE_MOVED") == 3
    service = refreshed(films_service)
    assert (service.live_version, service.live_generation) == (won[0].to_version, 1)
    assert AuditEvent.objects.filter(verb="service.activate").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_the_switch_at_once_never_both_succeed(films_service):
    """Tried several times, because either may win."""
    for _ in range(5):
        claim, version = unfinished_version(films_service)
        switched, cancelled = race(
            [
                lambda version=version, claim=claim: activate(films_service, version.number, claim=claim),
                lambda version=version: actions.build_cancel(actor=TESTER, build=version.build),
            ]
        )
        assert (switched, isinstance(cancelled, Build)) == ("CANCEL_ASKED", True) or (
            isinstance(switched, Activation),
            cancelled,
        ) == (True, "VERSION_IS_LIVE")
        actions.build_stop(claim, reason="build.cancelled", message="")


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_roll_back_once(films_service):
    for _ in range(3):
        activated(made_version(films_service))
    outcomes = race([lambda: roll_back(films_service, from_version=3)] * 4)
    assert sorted(outcome.changed for outcome in outcomes) == [False, False, False, True]
    assert refreshed(films_service).live_version == 2


@pytest.mark.django_db(transaction=True)
def test_an_activation_and_a_retirement_at_once_never_leave_a_dead_version_live(films_service):
    """Whoever comes second is refused; tried several times, because either may win."""
    activated(made_version(films_service))
    for _ in range(5):
        version = made_version(films_service)
        race(
            [
                lambda version=version: activate(films_service, version.number),
                lambda version=version: actions.version_retire(version=version),
            ]
        )
        live = selectors.live_version(refreshed(films_service))
        assert live is not None
        assert live.state == "READY"


def test_a_released_service_is_activated_by_builds_again(films_service):
    activated(made_version(films_service))
    activated(made_version(films_service))
    roll_back(films_service, from_version=2)
    claim, version = unfinished_version(films_service)
    service_release(actor=TESTER, service=refreshed(films_service))
    report_all_ready()
    system = Actor(kind="system", name="build 3")
    assert actions.version_activate(actor=system, service=films_service, number=version.number, claim=claim).changed


def test_gateways_that_lag_behind_are_named(films_service):
    made_version(films_service)
    activation = activate(films_service, 1)
    assert actions.activation_settle(activation=activation, laggards=["g2"], late=False).state == "PENDING"
    activation = actions.activation_settle(activation=activation, laggards=["g2"], late=True)
    assert (activation.state, activation.laggards) == ("LAGGING", ["g2"])
    activation = actions.activation_settle(activation=activation, laggards=[], late=True)
    assert (activation.state, activation.laggards, activation.completed_at is None) == ("COMPLETE", [], False)
    assert actions.activation_settle(activation=activation, laggards=["g2"], late=True).state == "COMPLETE"
