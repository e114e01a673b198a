"""How versions go."""

from __future__ import annotations

import pytest

from common.errors import FailedPrecondition, StateConflict
from tests.factories import TESTER
from tests.support.history import activated, asked, claimed, completed, made_version, refreshed
from versions import actions, selectors
from versions.models import Version

pytestmark = pytest.mark.django_db


def retirable(service, keep=2):
    return [version.number for version in selectors.retirable(refreshed(service), keep=keep)]


def test_live_and_its_rollback_target_stay(films_service):
    for _ in range(4):
        activated(made_version(films_service))
    assert retirable(films_service) == [1, 2]
    assert retirable(films_service, keep=1) == [1, 2, 3]
    assert retirable(films_service, keep=3) == [1]


def test_a_bad_version_is_no_rollback_target_and_goes(films_service):
    for _ in range(3):
        activated(made_version(films_service))
    actions.version_rollback(actor=TESTER, service=films_service)
    assert retirable(films_service) == [3]
    activated(made_version(films_service))
    assert retirable(films_service) == [1, 3]


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
    generation = refreshed(films_service).route_generation

    actions.version_retire(version=old)

    old.refresh_from_db()
    assert (old.state, old.retiring_at is None) == ("RETIRING", False)
    assert refreshed(films_service).route_generation == generation + 1
    assert [version.number for version in selectors.routable_versions(refreshed(films_service))] == [2]
    assert selectors.is_loaded(old)
    assert selectors.rollback_target(refreshed(films_service)) is None
    with pytest.raises(StateConflict):
        actions.version_retire(version=old)
    actions.version_unrouted(version=old)
    actions.version_unload(version=old)
    actions.version_retired(version=old)
    assert Version.objects.get(pk=old.pk).state == "RETIRED"


def test_a_build_that_ended_well_leaves_its_version_alone(films_service):
    version = activated(made_version(films_service))
    build = version.build
    build.refresh_from_db()
    build.work_dir = "/work/build-1-f1"
    build.save()
    actions.work_dir_deleted(build=build)
    build.refresh_from_db()
    assert (build.work_dir, build.state, selectors.is_loaded(version)) == ("", "SUCCEEDED", True)
