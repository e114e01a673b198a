"""What is wrong with builds and switches becomes an alert, which ends when its cause does."""

from __future__ import annotations

import pytest

from alerts.models import Alert
from audit.models import AuditEvent
from tests.factories import TESTER
from tests.support.history import asked, claimed, completed, held, resolved
from versions import actions
from versions.models import Activation, Build

pytestmark = pytest.mark.django_db


def alerts():
    return list(Alert.objects.order_by("number").values_list("reason", "subject", "state"))


def failed(build):
    claim = claimed(build)
    actions.step_start(claim, "build_index")
    actions.build_fail(claim, reason="engine.crashed", owner="platform", message="It was ended by SIGSEGV.")
    return Build.objects.get(pk=build.pk)


def succeeded(build):
    actions.build_succeed(claimed(build))
    return Build.objects.get(pk=build.pk)


def test_a_held_build_raises_its_reason_with_its_evidence_and_is_audited(films_service):
    build = held(asked(films_service))
    [alert] = Alert.objects.all()
    assert (alert.reason, alert.subject, alert.message, alert.severity) == (
        "guard.min_recall",
        "build 1",
        "Too low.",
        "warning",
    )
    evidence = [{"name": "min_recall", "value": 0.9, "limit": 0.95, "what": "recall"}]
    assert alert.evidence == {"step": "activate", "checks": evidence}
    event = AuditEvent.objects.get(verb="build.hold")
    assert (event.target, event.actor, event.reason, event.after["evidence"]) == (
        f"build {build.number}",
        "platform",
        "Too low.",
        evidence,
    )


def test_an_override_ends_it(films_service):
    build = held(asked(films_service))
    actions.build_override(actor=TESTER, build=build, reason="The catalogue was halved.")
    assert alerts() == [("guard.min_recall", "build 1", "RESOLVED")]
    verbs = list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True))
    assert verbs[-3:] == ["build.request", "build.hold", "build.override"]


def test_a_build_that_is_held_again_raises_it_again(films_service):
    build = held(asked(films_service))
    actions.build_override(actor=TESTER, build=build, reason="known")
    held(build, reason="guard.max_p99_ratio")
    assert alerts() == [("guard.min_recall", "build 1", "RESOLVED"), ("guard.max_p99_ratio", "build 1", "OPEN")]


def test_a_resume_a_cancel_and_an_expiry_end_it(films_service):
    builds = [held(asked(films_service)) for _ in range(3)]
    actions.build_resume(build=builds[0])
    actions.build_cancel(actor=TESTER, build=builds[1])
    actions.build_expire(build=builds[2], reason="build.expired", message="Nobody decided.")
    assert [state for _, _, state in alerts()] == ["RESOLVED"] * 3


def test_a_newer_drop_ends_it(films_service):
    first, second = asked(films_service), asked(films_service)
    claim = claimed(first)
    resolved(claim, "monday")
    actions.step_start(claim, "activate")
    actions.build_hold(claim, "activate", reason="guard.x", message="No.", evidence=[], report={}, context={})
    resolved(claimed(second), "tuesday")
    assert alerts() == [("guard.x", "build 1", "RESOLVED")]


def test_a_failed_build_raises_its_reason_until_it_is_tried_again(films_service):
    build = failed(asked(films_service))
    assert alerts() == [("engine.crashed", "build 1", "OPEN")]
    assert Alert.objects.get().message == "It was ended by SIGSEGV."
    actions.build_retry(actor=TESTER, build=build)
    assert alerts() == [("engine.crashed", "build 1", "RESOLVED")]


def test_a_worker_that_ends_a_cancelled_build_leaves_no_alert(films_service):
    build = asked(films_service)
    claim = claimed(build)
    actions.build_stop(claim, reason="build.cancelled", message="Cancelled by alice.")
    assert alerts() == []


def test_a_build_that_succeeds_ends_those_of_earlier_ones_and_no_others(films_service, books_service):
    failed(asked(films_service))
    good = asked(films_service)
    failed(asked(films_service))
    failed(asked(books_service))
    succeeded(good)
    found = set(Alert.objects.values_list("service__name", "subject", "state"))
    assert found == {
        ("movies", "build 1", "RESOLVED"),
        ("movies", "build 3", "OPEN"),
        ("novels", "build 1", "OPEN"),
    }


def test_a_fence_that_is_lost_raises_nothing(films_service):
    build = asked(films_service)
    claim = claimed(build)
    Build.objects.filter(pk=build.pk).update(fence=99)
    with pytest.raises(actions.FenceLost):
        actions.build_fail(claim, reason="engine.crashed", owner="platform", message="It died.")
    assert alerts() == []


@pytest.fixture
def switch(films_service):
    version = completed(claimed(asked(films_service)))
    return Activation.objects.create(
        service=films_service, kind="activate", to_version=version.number, live_generation=7, route_generation=9
    )


def again(activation):
    """As the sweeper reads it."""
    return Activation.objects.get(pk=activation.pk)


def test_a_switch_that_lags_raises_an_alert_once_until_all_gateways_serve_it(switch):
    actions.activation_settle(activation=switch, laggards=["gateway-2"], late=False)
    assert alerts() == []
    for _ in range(3):
        actions.activation_settle(activation=again(switch), laggards=["gateway-2"], late=True)
    assert alerts() == [("activation.lagging", "activation 7", "OPEN")]
    alert = Alert.objects.get()
    assert (alert.severity, alert.count, alert.evidence["laggards"]) == ("critical", 1, ["gateway-2"])
    assert "gateway-2" in alert.message
    actions.activation_settle(activation=again(switch), laggards=[], late=True)
    assert alerts() == [("activation.lagging", "activation 7", "RESOLVED")]


def test_a_switch_in_time_raises_nothing(switch):
    actions.activation_settle(activation=switch, laggards=[], late=False)
    assert (again(switch).state, alerts()) == ("COMPLETE", [])
