"""Who may write to a running build: claims, leases and fences."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection
from django.db.models.functions import Now

from catalog.models import Service
from common.errors import RecallError, StateConflict
from common.transitions import move
from tests.factories import TESTER
from tests.support.history import asked, claimed, completed, expired, refreshed, resolved
from versions import actions
from versions.actions import Claim, FenceLost
from versions.models import Build
from versions.states import BUILD, STEP

pytestmark = pytest.mark.django_db


def test_a_claimed_build_is_nobody_elses(films_service):
    build = asked(films_service)
    claim = claimed(build)
    assert claim == Claim(build.pk, fence=1, crashes=0)
    assert actions.build_claim(build.pk, owner="worker-2") is None
    build.refresh_from_db()
    assert (build.state, build.lease_owner, build.started_at is not None) == ("RUNNING", "worker-1", True)


def test_an_unknown_build_is_not_claimed():
    assert actions.build_claim(404, owner="worker-1") is None


def test_a_build_whose_worker_died_is_claimed_under_a_new_fence(films_service):
    build = asked(films_service)
    claimed(build)
    expired(build)
    assert actions.build_claim(build.pk, owner="worker-2") == Claim(build.pk, fence=2, crashes=1)


def test_a_renewed_lease_is_not_expired(films_service):
    build = asked(films_service)
    claim = claimed(build)
    expired(build)
    assert actions.lease_renew(claim) is False
    assert actions.build_claim(build.pk, owner="worker-2") is None


def test_a_build_that_waits_is_claimed_when_its_time_has_come(films_service):
    build = asked(films_service)
    claim = claimed(build)
    actions.step_start(claim, "activate")
    actions.build_wait(claim, "activate", seconds=3600, detail="1 of 2 replicas are loaded.", context={"tried": 1})
    assert actions.build_claim(build.pk, owner="worker-2") is None
    Build.objects.filter(pk=build.pk).update(wake_at=Now())
    assert actions.build_claim(build.pk, owner="worker-2") == Claim(build.pk, fence=2, crashes=0)
    build.refresh_from_db()
    assert build.context == {"tried": 1}
    step = build.steps.get(name="activate")
    assert (step.state, step.detail) == ("RUNNING", "1 of 2 replicas are loaded.")


def test_a_step_that_goes_on_after_a_wait_keeps_the_time_of_its_start(films_service):
    build = asked(films_service)
    claim = claimed(build)
    started_at = actions.step_start(claim, "activate").started_at
    actions.build_wait(claim, "activate", seconds=0, detail="", context={})
    assert actions.step_start(claimed(build), "activate").started_at == started_at


WRITES: dict[str, Callable[[Claim, Service], object]] = {
    "lease_renew": lambda claim, _: actions.lease_renew(claim),
    "steps_prepare": lambda claim, _: actions.steps_prepare(claim, ["resolve_drop"]),
    "steps_redo": lambda claim, _: actions.steps_redo(claim, ["resolve_drop"]),
    "step_start": lambda claim, _: actions.step_start(claim, "resolve_drop"),
    "step_progress": lambda claim, _: actions.step_progress(claim, "resolve_drop", progress=0.5),
    "step_done": lambda claim, _: actions.step_done(claim, "resolve_drop", report={"a": 1}, context={"a": 1}),
    "build_wait": lambda claim, _: actions.build_wait(claim, "resolve_drop", seconds=1, detail="", context={}),
    "build_hold": lambda claim, _: actions.build_hold(
        claim, "resolve_drop", reason="r", message="m", evidence=[], report={}, context={}
    ),
    "build_fail": lambda claim, _: actions.build_fail(claim, reason="r", owner="user", message="m"),
    "build_stop": lambda claim, _: actions.build_stop(claim, reason="r", message="m"),
    "build_succeed": lambda claim, _: actions.build_succeed(claim),
    "drop_blame": lambda claim, _: actions.drop_blame(claim, name="a"),
    "drop_resolve": lambda claim, _: resolved(claim, "a"),
    "work_dir_set": lambda claim, _: actions.work_dir_set(claim, "/work"),
    "version_reserve": lambda claim, _: actions.version_reserve(claim),
    "version_complete": lambda claim, _: completed(claim),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_worker_that_lost_its_fence_writes_nothing(films_service, write):
    build = asked(films_service)
    stale = claimed(build)
    actions.step_start(stale, "resolve_drop")
    expired(build)
    claimed(build, owner="worker-2")
    before = list(Build.objects.filter(pk=build.pk).values()), list(build.steps.values()), list(build.versions.values())
    with pytest.raises(FenceLost):
        WRITES[write](stale, films_service)
    after = list(Build.objects.filter(pk=build.pk).values()), list(build.steps.values()), list(build.versions.values())
    assert after == before


@pytest.mark.parametrize("write", WRITES)
def test_a_worker_writes_nothing_to_a_build_that_has_ended(films_service, write):
    claim = claimed(asked(films_service))
    actions.build_stop(claim, reason="build.cancelled", message="")
    with pytest.raises(FenceLost):
        WRITES[write](claim, films_service)


def test_a_lost_worker_cannot_publish_over_the_new_one(films_service):
    build = asked(films_service)
    stale = claimed(build)
    version = actions.version_reserve(stale)
    expired(build)
    fresh = claimed(build, owner="worker-2")
    assert completed(fresh).number == version.number
    with pytest.raises(FenceLost):
        completed(stale)


def test_a_version_number_is_given_out_once(films_service):
    claim = claimed(asked(films_service))
    assert actions.version_reserve(claim).number == actions.version_reserve(claim).number == 1
    version = completed(claim)
    assert actions.version_reserve(claim) == version
    assert refreshed(films_service).versions_count == 1


@pytest.mark.parametrize(("state", "to"), [("HELD", "RUNNING"), ("PENDING", "FAILED")])
def test_a_build_goes_on_only_by_its_claim_and_fails_only_while_it_runs(films_service, state, to):
    build = asked(films_service)
    Build.objects.filter(pk=build.pk).update(state=state)
    with pytest.raises(StateConflict):
        move(build, BUILD, to)


@pytest.mark.parametrize(("state", "to"), [("RUNNING", "PENDING"), ("HELD", "RUNNING"), ("CANCELLED", "PENDING")])
def test_a_step_is_taken_back_only_when_it_stands_still(films_service, state, to):
    build = asked(films_service)
    claimed(build)
    step = build.steps.get(name="activate")
    build.steps.filter(pk=step.pk).update(state=state)
    with pytest.raises(StateConflict):
        move(step, STEP, to)


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_claims(films_service):
    build = asked(films_service)
    outcomes = race([lambda n=n: actions.build_claim(build.pk, owner=f"worker-{n}") for n in range(6)])
    assert [outcome for outcome in outcomes if outcome is not None] == [Claim(build.pk, 1)]


@pytest.mark.django_db(transaction=True)
def test_of_many_claims_no_more_run_at_once_than_the_quota_allows(films_service):
    builds = [asked(films_service) for _ in range(6)]
    outcomes = race([lambda build=build: actions.build_claim(build.pk, owner="w") for build in builds])
    assert (
        len([outcome for outcome in outcomes if outcome is not None]) == films_service.tenant.quota.builds_at_once_max
    )


@pytest.mark.django_db(transaction=True)
def test_builds_asked_for_at_once_get_numbers_of_their_own(films_service):
    builds = race([lambda: asked(films_service)] * 6)
    assert sorted(build.number for build in builds) == [1, 2, 3, 4, 5, 6]


@pytest.mark.django_db(transaction=True)
def test_of_two_builds_of_one_drop_one_finds_itself_a_duplicate(films_service):
    claims = [claimed(asked(films_service)) for _ in range(2)]
    twins = race([lambda claim=claim: resolved(claim, "a") for claim in claims])
    assert sorted(twin is None for twin in twins) == [False, True]


@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_an_override_at_once_leave_one_of_both(films_service):
    build = asked(films_service)
    claim = claimed(build)
    actions.step_start(claim, "activate")
    actions.build_hold(claim, "activate", reason="r", message="m", evidence=[], report={}, context={})
    outcomes = race(
        [
            lambda: actions.build_cancel(actor=TESTER, build=build).state,
            lambda: actions.build_override(actor=TESTER, build=build, reason="because").state,
        ]
    )
    build.refresh_from_db()
    assert build.state == "CANCELLED" or outcomes[1] == "PENDING"
    assert build.state in ("CANCELLED", "PENDING")


def race(runs: list[Callable[[], object]]) -> list:
    """What the runs returned, or the reason they were refused, all started at one moment."""
    start = Barrier(len(runs))

    def run(work: Callable[[], object]) -> object:
        start.wait()
        try:
            return work()
        except RecallError as error:
            return error.reason
        finally:
            connection.close()

    with ThreadPoolExecutor(len(runs)) as pool:
        return list(pool.map(run, runs))
