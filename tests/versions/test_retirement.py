"""How versions go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common.errors import FailedPrecondition, StateConflict
from tests.factories import TESTER
from tests.support.history import activated, asked, claimed, completed, made_version, refreshed, unfinished_version
from tests.versions.test_claims import race
from versions import actions, selectors
from versions.models import Activation, Build, Replica, Version
from versions.views import version_view

pytestmark = pytest.mark.django_db


def retirable(service, keep=2):
    return [version.number for version in selectors.retirable(refreshed(service), keep=keep)]


def test_live_and_its_rollback_target_stay(films_service):
    for _ in range(4):
        activated(made_version(films_service))
    assert retirable(films_service) == [1, 2]
    assert retirable(films_service, keep=1) == [1, 2]
    assert retirable(films_service, keep=3) == [1]


def test_a_bad_version_is_no_rollback_target_and_goes(films_service):
    for _ in range(3):
        activated(made_version(films_service))
    actions.version_rollback(actor=TESTER, service=films_service)
    assert retirable(films_service) == [3]
    activated(made_version(films_service))
    assert retirable(films_service) == [1, 3]


def test_where_a_rollback_goes_now_stays_though_newer_versions_may_serve_again(films_service):
    for _ in range(3):
        activated(made_version(films_service))
    Replica.objects.filter(version__number=2).update(state="FAILED")
    target = selectors.rollback_target(refreshed(films_service))
    assert target is not None
    assert (target.number, retirable(films_service, keep=2)) == (1, [])
    with pytest.raises(FailedPrecondition) as refused:
        actions.version_retire(version=target)
    assert refused.value.reason == "VERSION_IS_ROLLBACK_TARGET"


def test_nothing_goes_before_the_first_activation(films_service):
    made_version(films_service)
    made_version(films_service)
    assert retirable(films_service) == []


def test_what_an_unfinished_build_works_on_stays(films_service):
    activated(made_version(films_service))
    claim = claimed(asked(films_service))
    completed(claim)
    assert retirable(films_service) == []
    actions.build_succeed(claim)
    assert retirable(films_service) == [2]


def test_everything_of_a_deleted_service_goes(films_service):
    activated(made_version(films_service))
    type(films_service).objects.filter(pk=films_service.pk).update(deleted_at=films_service.created_at)
    assert retirable(films_service, keep=0) == [1]


def test_the_live_version_is_not_retired(films_service):
    version = activated(made_version(films_service))
    generation = refreshed(films_service).route_generation
    with pytest.raises(FailedPrecondition) as refused:
        actions.version_retire(version=version)
    assert refused.value.reason == "VERSION_IS_LIVE"
    assert refreshed(films_service).route_generation == generation


def test_a_retired_version_leaves_the_routes_at_once_and_the_node_later(films_service):
    old = activated(made_version(films_service))
    activated(made_version(films_service))
    activated(made_version(films_service))
    generation = refreshed(films_service).route_generation

    actions.version_retire(version=old)

    old.refresh_from_db()
    assert (old.state, old.retiring_at is None) == ("RETIRING", False)
    assert refreshed(films_service).route_generation == generation + 1
    assert [version.number for version in selectors.routable_versions(refreshed(films_service))] == [3, 2]
    assert selectors.is_loaded(old)
    with pytest.raises(StateConflict):
        actions.version_retire(version=old)
    actions.version_unrouted(version=old)
    actions.version_unload(version=old)
    actions.version_retired(version=old)
    assert Version.objects.get(pk=old.pk).state == "RETIRED"


def test_a_version_on_its_way_out_says_until_when(films_service, settings):
    settings.RETIRE_FILES_SECONDS = 1_800
    old = activated(made_version(films_service))
    assert version_view(old)["retires_at"] is None
    activated(made_version(films_service))
    activated(made_version(films_service))

    actions.version_retire(version=old)

    old.refresh_from_db()
    assert version_view(old)["retires_at"] - old.retiring_at == timedelta(minutes=30)
    assert "its files stay for a while" in version_view(old)["why"]
    actions.version_retired(version=old)
    assert version_view(old)["retires_at"] is None


def test_what_became_live_again_meanwhile_does_not_begin_to_drain(films_service):
    live = activated(made_version(films_service))
    actions.version_unrouted(version=live)
    assert Version.objects.get(pk=live.pk).unrouted_at is None


def test_a_held_version_is_unloaded_unless_its_build_goes_on_or_it_went_live(films_service):
    _, version = unfinished_version(films_service)
    for state, activated_at, unloaded in (("PENDING", None, 0), ("HELD", version.created_at, 0), ("HELD", None, 1)):
        Build.objects.filter(pk=version.build_id).update(state=state)
        Version.objects.filter(pk=version.pk).update(activated_at=activated_at)
        assert actions.version_unload_held(version=version) == unloaded
        assert selectors.is_loaded(version) == (not unloaded)


@pytest.mark.django_db(transaction=True)
def test_a_held_version_that_is_activated_and_unloaded_at_once_is_live_and_loaded_or_loaded_first(films_service):
    """Tried several times, because either may win."""
    for _ in range(5):
        claim, version = unfinished_version(films_service)
        actions.step_start(claim, "activate")
        reason = "activate.service_held"
        actions.build_hold(claim, "activate", reason=reason, message="", evidence=[], report={}, context={})
        switched, unloaded = race(
            [
                lambda number=version.number: actions.version_activate(
                    actor=TESTER, service=films_service, number=number
                ),
                lambda version=version: actions.version_unload_held(version=version),
            ]
        )
        said = switched.state if isinstance(switched, Activation) else switched
        # Unloaded just before the one UPDATE, the switch is refused; whoever asks again has it loaded.
        assert (said, unloaded) in (("PENDING", 0), ("LOADING", 1), ("LOADING", 0), ("VERSION_NOT_LOADED", 1))
        if said == "VERSION_NOT_LOADED":
            again = actions.version_activate(actor=TESTER, service=films_service, number=version.number)
            said = again.state
        if said == "LOADING":
            actions.reload_end(reload=selectors.open_reload(films_service), actor=TESTER)
            actions.build_cancel(actor=TESTER, build=version.build)
        else:
            actions.build_succeed(claimed(version.build))


def test_a_build_that_ended_well_leaves_its_version_alone(films_service):
    version = activated(made_version(films_service))
    build = version.build
    build.refresh_from_db()
    build.work_dir = "/work/build-1-f1"
    build.save()
    actions.work_dir_deleted(build=build)
    build.refresh_from_db()
    assert (build.work_dir, build.state, selectors.is_loaded(version)) == ("", "SUCCEEDED", True)
