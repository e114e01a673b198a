"""Asking for builds, and what people do with them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.db.models import F

from audit.models import AuditEvent
from common.errors import FailedPrecondition, InvalidArgument, NotFound, QuotaExceeded, StateConflict
from tenants.actions import quota_update
from tests.factories import TESTER
from tests.support.history import (
    activated,
    asked,
    claimed,
    completed,
    held,
    made_version,
    place,
    refreshed,
    report_all_ready,
    resolved,
)
from versions import actions, selectors
from versions.actions.builds import BUILDS_UNFINISHED_MAX
from versions.models import Build, Replica
from versions.selectors import build_view, version_view
from versions.views import NEXT_STEP_OF_CHANGED_SPEC, NEXT_STEP_OF_USER

pytestmark = pytest.mark.django_db


def test_builds_are_numbered_for_each_service(films_service, books_service):
    assert [asked(films_service).number, asked(films_service).number, asked(books_service).number] == [1, 2, 1]


def test_a_build_keeps_the_spec_as_it_was_when_it_was_asked_for(films_service):
    build = asked(films_service, drop="20260101", force=True)
    assert build.spec == films_service.spec
    assert (build.state, build.drop_name, build.force, build.requested_by) == ("PENDING", "20260101", True, "tests")
    event = AuditEvent.objects.get(verb="build.request")
    assert (event.tenant, event.service, event.target) == ("films", "movies", "build 1")


def test_it_refuses_a_build_of_a_deleted_service(films_service):
    films_service.deleted_at = films_service.created_at
    films_service.save()
    with pytest.raises(NotFound) as refused:
        asked(films_service)
    assert refused.value.reason == "SERVICE_NOT_FOUND"


def test_it_refuses_more_builds_than_may_wait(films_service):
    for _ in range(BUILDS_UNFINISHED_MAX):
        asked(films_service)
    with pytest.raises(QuotaExceeded) as refused:
        asked(films_service)
    assert refused.value.reason == "TOO_MANY_BUILDS"


def test_a_retry_counts_among_the_builds_that_may_wait(films_service):
    failed = asked(films_service)
    actions.build_fail(claimed(failed), reason="drop.empty", owner="user", message="No items.")
    others = [asked(films_service) for _ in range(BUILDS_UNFINISHED_MAX)]
    with pytest.raises(QuotaExceeded) as refused:
        actions.build_retry(actor=TESTER, build=failed)
    assert refused.value.reason == "TOO_MANY_BUILDS"
    actions.build_cancel(actor=TESTER, build=others[0])
    assert actions.build_retry(actor=TESTER, build=failed).state == "PENDING"
    assert asked_number(films_service) == BUILDS_UNFINISHED_MAX + 1


def asked_number(service) -> int:
    return refreshed(service).builds_count


def test_only_so_many_builds_of_a_tenant_run_at_once(films, films_service, books_service):
    quota_update(actor=TESTER, tenant=films, builds_at_once_max=1)
    first, second, foreign = asked(films_service), asked(films_service), asked(books_service)
    claim = claimed(first)
    assert actions.build_claim(second.pk, owner="worker-2") is None
    claimed(foreign)
    actions.build_succeed(claim)
    claimed(second)


def test_a_waiting_build_is_cancelled_at_once(films_service):
    build = actions.build_cancel(actor=TESTER, build=asked(films_service))
    assert (build.state, build.error_reason, build.error_message) == (
        "CANCELLED",
        "build.cancelled",
        "Cancelled by tests.",
    )
    assert AuditEvent.objects.get(verb="build.cancel").before == {"state": "PENDING"}
    assert actions.build_claim(build.pk, owner="worker-1") is None


def test_a_running_build_is_cancelled_by_its_worker(films_service):
    build = asked(films_service)
    claim = claimed(build)
    cancelled = actions.build_cancel(actor=TESTER, build=build)
    assert (cancelled.state, build_view(cancelled)["cancel_requested"]) == ("RUNNING", True)
    assert actions.lease_renew(claim) is True
    actions.build_stop(claim, reason="build.cancelled", message="Cancelled by tests.")
    assert Build.objects.get(pk=build.pk).state == "CANCELLED"


@pytest.mark.parametrize("pause", ["hold", "wait"])
def test_a_worker_that_has_not_heard_of_a_cancel_can_neither_hold_the_build_nor_put_it_to_sleep(films_service, pause):
    build = asked(films_service)
    claim = claimed(build)
    actions.step_start(claim, "activate")
    actions.build_cancel(actor=TESTER, build=build)
    before = list(Build.objects.values()), list(build.steps.values())
    told: dict[str, Any] = {"evidence": [], "report": {"counts": 1}, "context": {}}
    pauses = {
        "wait": partial(actions.build_wait, seconds=5, detail="waiting", context={"tried": 1}),
        "hold": partial(actions.build_hold, reason="guard.min_recall", message="Too low.", **told),
    }
    with pytest.raises(actions.CancelAsked):
        pauses[pause](claim, "activate")
    after = list(Build.objects.values()), list(build.steps.values())
    assert before[1] == after[1]
    assert [{**each, "lease_until": None} for each in before[0]] == [{**each, "lease_until": None} for each in after[0]]


def test_a_build_that_sleeps_in_a_step_is_cancelled_at_once_and_its_version_unloaded(films_service):
    build = asked(films_service)
    claim = claimed(build)
    resolved(claim, "a")
    version = completed(claim)
    place(claim, version)
    report_all_ready()
    actions.step_start(claim, "activate")
    actions.build_wait(claim, "activate", seconds=60, detail="waiting", context={})

    build = actions.build_cancel(actor=TESTER, build=build)

    version.refresh_from_db()
    assert (build.state, version.state) == ("CANCELLED", "FAILED")
    assert Replica.objects.get(version=version).state == "WITHDRAWN"
    assert build.steps.get(name="activate").state == "CANCELLED"


def test_a_build_whose_version_is_live_is_not_cancelled(films_service):
    build = asked(films_service)
    claim = claimed(build)
    version = completed(claim)
    place(claim, version)
    report_all_ready()
    actions.version_activate(actor=TESTER, service=films_service, number=version.number, claim=claim)
    with pytest.raises(FailedPrecondition) as refused:
        actions.build_cancel(actor=TESTER, build=build)
    assert refused.value.reason == "VERSION_IS_LIVE"
    actions.build_fail(claim, reason="platform.internal", owner="platform", message="oops")
    version.refresh_from_db()
    assert version.state == "READY"


def test_a_refused_cancel_says_which_version_is_live(films_service):
    first = activated(made_version(films_service)).build
    with pytest.raises(FailedPrecondition) as refused:
        actions.build_cancel(actor=TESTER, build=first)
    assert refused.value.message == "Build 1 has succeeded and its version 1 is live. Roll back instead."
    activated(made_version(films_service))
    with pytest.raises(FailedPrecondition) as refused:
        actions.build_cancel(actor=TESTER, build=first)
    assert refused.value.reason == "VERSION_WAS_LIVE"
    assert refused.value.message == (
        "Build 1 has succeeded and its version 1 was live; version 2 is live now. There is nothing to cancel."
    )


def test_an_ended_build_has_nothing_to_cancel(films_service):
    build = actions.build_cancel(actor=TESTER, build=asked(films_service))
    with pytest.raises(StateConflict, match=r"^Build 1 is cancelled; only an unfinished build can be cancelled\.$"):
        actions.build_cancel(actor=TESTER, build=build)
    assert AuditEvent.objects.filter(verb="build.cancel").count() == 1


def test_a_held_build_resumes_by_an_override_that_says_why(films_service):
    build = held(asked(films_service))
    view = build_view(build)
    assert (view["state"], view["step"]) == ("HELD", "activate")
    assert view["error"]["reason"] == "guard.min_recall"
    assert view["error"]["effect"] == "Nothing is serving yet."
    assert view["report"]["held"]["evidence"][0]["limit"] == 0.95
    with pytest.raises(InvalidArgument) as refused:
        actions.build_override(actor=TESTER, build=build, reason=" ")
    assert refused.value.field == "reason"

    build = actions.build_override(actor=TESTER, build=build, reason="The target was set too high.")

    assert (build.state, build.overrides) == (
        "PENDING",
        {"activate": {"guard.min_recall": "The target was set too high."}},
    )
    assert (build.error_reason, "held" in build.report) == ("", False)
    assert build.report["overridden"][0]["by"] == "tests"
    assert AuditEvent.objects.get(verb="build.override").reason == "The target was set too high."
    claim = claimed(build)
    assert actions.step_start(claim, "activate").state == "RUNNING"


def test_a_build_in_another_state_is_named_by_the_number_that_people_know(films_service, books_service):
    asked(books_service)  # So that the number and the row's own differ.
    build = actions.build_cancel(actor=TESTER, build=asked(films_service))
    assert build.pk != build.number
    with pytest.raises(StateConflict, match=r"^Build 1 is cancelled; only a held build can be overridden\.$"):
        actions.build_override(actor=TESTER, build=build, reason="because")
    with pytest.raises(StateConflict, match=r"^Build 1 is cancelled; only a failed build can be retried\.$"):
        actions.build_retry(actor=TESTER, build=build)


def test_a_retry_goes_on_where_the_build_failed(films_service):
    build = asked(films_service)
    claim = claimed(build)
    actions.step_start(claim, "resolve_drop")
    actions.step_done(claim, "resolve_drop", report={}, context={"source": "/drops"})
    actions.step_start(claim, "build_index")
    actions.build_fail(claim, reason="engine.crashed", owner="platform", message="It crashed.")
    view = build_view(Build.objects.get(pk=build.pk))
    assert (view["state"], view["step"], view["error"]["owner"]) == ("FAILED", "build_index", "platform")

    build = actions.build_retry(actor=TESTER, build=build)

    assert (build.state, build.force, build.error_reason) == ("PENDING", True, "")
    assert [step.state for step in build.steps.all()] == ["DONE", "PENDING", "PENDING"]
    assert build.context == {"source": "/drops"}
    with pytest.raises(StateConflict):
        actions.build_retry(actor=TESTER, build=build)


def test_the_same_drop_under_the_same_spec_is_the_same_build(films_service):
    first = asked(films_service)
    assert resolved(claimed(first), "a") is None
    assert resolved(claimed(asked(films_service)), "a") == first
    actions.build_stop(actions.Claim(first.pk, 1), reason="build.cancelled", message="")
    assert resolved(claimed(asked(films_service)), "a") is None


def test_a_successful_build_is_repeated_only_by_force_or_under_a_new_spec(films_service):
    first = asked(films_service)
    claim = claimed(first)
    resolved(claim, "a")
    actions.build_succeed(claim)
    assert resolved(claimed(asked(films_service)), "a") == first
    assert resolved(claimed(asked(films_service, force=True)), "a") is None


def test_another_spec_generation_is_another_build(films_service):
    resolved(claimed(asked(films_service)), "a")
    type(films_service).objects.filter(pk=films_service.pk).update(spec_generation=2)
    assert resolved(claimed(asked(films_service)), "a") is None


def test_a_step_that_runs_twice_is_no_duplicate_of_itself(films_service):
    claim = claimed(asked(films_service))
    assert resolved(claim, "a") is None
    assert resolved(claim, "a") is None


def test_a_newer_drop_cancels_a_held_build_and_an_older_one_does_not(films_service):
    waiting = asked(films_service)
    resolved(claimed(waiting), "20260102")
    actions.build_wait(actions.Claim(waiting.pk, 1), "activate", seconds=0, detail="", context={})
    waiting = held(waiting)
    resolved(claimed(asked(films_service)), "20260101")
    assert Build.objects.get(pk=waiting.pk).state == "HELD"
    resolved(claimed(asked(films_service)), "20260103")
    waiting.refresh_from_db()
    assert (waiting.state, waiting.error_reason) == ("CANCELLED", "build.superseded")
    assert "Build 3" in waiting.error_message


def test_a_failed_build_leaves_what_is_live_alone_and_says_so(films_service):
    live = activated(made_version(films_service))
    claim = claimed(asked(films_service))
    resolved(claim, "bad")
    version = completed(claim)
    place(claim, version)
    actions.build_fail(claim, reason="drop.dimension_mismatch", owner="user", message="12, not 4.")

    error = build_view(selectors.build_get(films_service, 2))["error"]
    version.refresh_from_db()
    assert error["effect"] == "Version 1 is still serving."
    assert "Correct the drop" in error["next_step"]
    assert (version.state, refreshed(films_service).live_version) == ("FAILED", live.number)
    assert [version_view(each)["why"] for each in selectors.versions_of(films_service)] == ["12, not 4.", ""]


def test_a_version_that_a_retry_left_behind_says_so(films_service):
    build = asked(films_service)
    claim = claimed(build)
    completed(claim)
    actions.build_fail(claim, reason="replica.load_failed", owner="platform", message="No memory.")
    claim = claimed(actions.build_retry(actor=TESTER, build=build))
    completed(claim)
    said = [version_view(version)["why"] for version in selectors.versions_of(films_service)]
    assert said == ["", "Build 1 was retried and went on with version 2."]


def test_after_a_change_of_the_spec_a_failed_build_asks_for_a_new_one(films_service):
    claim = claimed(asked(films_service))
    actions.build_fail(claim, reason="drop.dimension_mismatch", owner="user", message="12, not 4.")
    before = build_view(selectors.build_get(films_service, 1))["error"]["next_step"]
    type(films_service).objects.filter(pk=films_service.pk).update(spec_generation=F("spec_generation") + 1)
    after = build_view(selectors.build_get(films_service, 1))["error"]["next_step"]
    assert before == NEXT_STEP_OF_USER
    assert after == NEXT_STEP_OF_CHANGED_SPEC


def test_a_foreign_build_is_not_found(films_service, books_service):
    asked(books_service)
    with pytest.raises(NotFound) as refused:
        selectors.build_get(films_service, 1)
    assert refused.value.reason == "BUILD_NOT_FOUND"
