"""Each gate after the build: a bad candidate is held with its evidence, an operator lets it pass, the audit says so.

What is live stays live meanwhile. The node is on paper, so that it can answer badly on demand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from alerts.models import Alert
from audit.models import AuditEvent
from catalog.actions import service_hold, service_release
from catalog.models import Service
from tests.factories import TESTER, make_service
from tests.support.history import activated, made_version, refreshed
from tests.support.paper_node import PaperNode
from tests.workers.conftest import finish, published
from versions import actions, selectors
from versions.models import Build, Replica, Version
from versions.views import build_view, version_view

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def less_overlap(node: PaperNode) -> None:
    node.likeness = {**node.likeness, "overlap": 0.4}


def other_scores(node: PaperNode) -> None:
    node.likeness = {**node.likeness, "mean_score": 1.5}


def lost_rows(node: PaperNode) -> None:
    node.rows_found = 90


def slowness(node: PaperNode) -> None:
    node._p99_ms = [50.0]


GATES: list[tuple[str, str, Callable[[PaperNode], None], float, float]] = [
    ("min_overlap_at_k", "check_replicas", less_overlap, 0.4, 0.6),
    ("max_score_drift_percent", "check_replicas", other_scores, 50.0, 20),
    ("min_recall", "check_replicas", lost_rows, 0.9, 0.95),
    ("max_p99_ratio", "warm_replicas", slowness, 50.0, 5.0),
]


def evidence_of(build: Build) -> dict[str, dict[str, Any]]:
    """The checks of a build's report, by what they are of."""
    return {each["what"]: each for each in build.report["evidence"]}


@pytest.mark.parametrize(("gate", "step", "spoil", "value", "limit"), GATES, ids=[gate[0] for gate in GATES])
def test_a_bad_candidate_is_held_with_its_evidence_and_passes_by_an_audited_override(
    films, node, gate, step, spoil, value, limit
):
    service = make_service(films, guards={"min_overlap_at_k": 0.6, "max_score_drift_percent": 20})
    assert finish(published(service)).state == "SUCCEEDED"
    spoil(node)
    build = finish(published(service))

    assert (build.state, build.error_reason, build_view(build)["step"]) == ("HELD", f"guard.{gate}", step)
    [found] = build.report["held"]["evidence"]
    assert (found["name"], found["value"], found["limit"]) == (gate, value, limit)
    [check] = [each for each in build.report["evidence"] if each["verdict"] == "hold"]
    assert (check["name"], check["value"], check["limit"]) == (gate, value, limit)
    assert f"(guards.{gate})" in build.error_message
    assert refreshed(service).live_version == 1
    alert = Alert.objects.get(subject="build 2")
    assert (alert.reason, alert.state, alert.evidence["checks"]) == (f"guard.{gate}", "OPEN", [found])
    told = version_view(selectors.version_get(service, 2))["report"]["evidence"]
    assert told == build.report["evidence"]

    actions.build_override(actor=TESTER, build=build, reason="The new model is meant to differ.")
    build = finish(build)
    assert (build.state, refreshed(service).live_version) == ("SUCCEEDED", 2)
    event = AuditEvent.objects.get(verb="build.override")
    assert (event.target, event.reason) == ("build 2", "The new model is meant to differ.")
    assert event.before["reason"] == f"guard.{gate}"
    assert build.report["overridden"][0]["evidence"] == [found]
    alert.refresh_from_db()
    assert alert.state == "RESOLVED"


def test_the_report_of_a_good_version_has_every_figure_beside_its_limit(films_service, node):
    finish(published(films_service))
    build = finish(published(films_service))
    checks = evidence_of(build)
    assert {what: (each["value"], each["limit"], each["verdict"]) for what, each in checks.items()} == {
        "p99": (1.0, 5.0, "pass"),
        "items on each replica": (60, 60, "pass"),
        "known answers": (1.0, 0.98, "pass"),
        "sampled rows found on each replica": (1.0, 0.95, "pass"),
        "overlap with live at 100": (0.9, None, "pass"),
        "drift of the mean score": (0.0, None, "pass"),
    }
    assert checks["p99"]["note"] == "local; live version 1: 1.00 ms, asked in turns; calls timed in turns: 1,000"
    assert checks["overlap with live at 100"]["note"] == "against live version 1"
    assert set(checks["p99"]) == {"name", "what", "value", "bound", "limit", "unit", "verdict", "note"}


def held_until_live_moved(service: Service, number: int) -> Build:
    """A build that was compared with what is live, waited, and goes on when version `number` is live."""
    service_hold(actor=TESTER, service=refreshed(service), reason="We look into it.")
    build = finish(published(service))
    assert (build.error_reason, build.report["compare"]["live"]) == ("activate.service_held", 2)
    actions.version_activate(actor=TESTER, service=service, number=number)
    service_release(actor=TESTER, service=refreshed(service))
    actions.build_resume(build=build)
    return finish(build)


def test_the_evidence_of_what_went_live_is_beside_what_was_live_then(films_service, node):
    """Its build was compared with version 2; when it goes on, version 1 is live again."""
    for _ in range(2):
        finish(published(films_service))
    build = held_until_live_moved(films_service, 1)
    checks = evidence_of(build)
    assert (build.state, checks["overlap with live at 100"]["note"]) == ("SUCCEEDED", "against live version 1")
    assert checks["p99"]["note"] == "local; live version 1: 1.00 ms, asked in turns; calls timed in turns: 1,000"
    live = [build.report[name].get("live_version", build.report[name].get("live")) for name in ("counts", "compare")]
    assert (live, build.report["items"]["live_version"]) == ([1, 1], 1)
    told = version_view(selectors.version_get(films_service, 3))["report"]["evidence"]
    assert told == build.report["evidence"]


def test_where_nothing_can_be_asked_in_turns_the_p99_is_judged_by_the_warm_up_beside_the_new_live_too(films, node):
    service = make_service(films)
    for _ in range(2):
        finish(published(service))
    Version.objects.filter(number=2).update(p99_ms=100.0)
    node.compare_error = "they are not on one node"
    node._p99_ms = [50.0]
    build = held_until_live_moved(service, 1)
    assert (build.state, build.error_reason) == ("HELD", "guard.max_p99_ratio"), build.error_message
    assert (build_view(build)["step"], evidence_of(build)["p99"]["limit"]) == ("activate", 5.0)
    assert evidence_of(build)["p99"]["note"] == "local; live version 1: 1.00 ms, when each was warmed up"


def test_a_count_that_was_counted_is_not_called_a_promise(films_service, node):
    finish(published(films_service))
    finish(published(films_service, items=60))
    Version.objects.filter(number=1).update(items=1_000)
    build = held_until_live_moved(films_service, 1)
    assert build.error_reason == "guard.max_drop_percent"
    assert build.error_message.startswith("60 items, 94 % fewer than live (1,000)")


def test_a_first_version_has_nothing_to_be_compared_with_and_says_so(films, node):
    service = make_service(films, guards={"min_overlap_at_k": None, "max_score_drift_percent": None})
    build = finish(published(service))
    checks = evidence_of(build)
    assert [each["note"] for each in checks.values() if each["value"] is None] == ["no version is live yet"] * 2
    assert (checks["p99"]["value"], checks["p99"]["limit"]) == (1.0, None)
    said = list(build.lines.values_list("text", flat=True))
    assert "drift of the mean score: not measured (no limit)" in said
    assert "p99: 1 ms (no limit): pass" in said


def test_a_first_version_passes_guards_that_compare_with_live(films, node):
    service = make_service(films, guards={"min_overlap_at_k": 0.9, "max_score_drift_percent": 1})
    build = finish(published(service))
    assert build.state == "SUCCEEDED"
    assert evidence_of(build)["overlap with live at 100"]["limit"] == 0.9
    assert build.lines.filter(text="drift of the mean score: not measured (at most 1 %): pass").exists()


def test_what_cannot_be_compared_with_live_is_held_when_it_has_a_guard_and_told_when_not(films, node):
    service = make_service(films, guards={"min_overlap_at_k": 0.6})
    finish(published(service))
    node.compare_error = "the live version does not answer these queries: the dimension is 8"
    build = finish(published(service))
    assert (build.state, build.error_reason) == ("HELD", "guard.min_overlap_at_k")
    assert "could not be measured: local: the live version does not answer" in build.error_message
    checks = evidence_of(build)
    assert (checks["drift of the mean score"]["value"], checks["drift of the mean score"]["verdict"]) == (None, "pass")
    assert checks["p99"]["note"].endswith("when each was warmed up")


def test_a_p99_of_few_calls_in_turns_is_none_and_that_of_the_warm_up_is_judged(films_service, node):
    finish(published(films_service))
    Version.objects.update(p99_ms=1.5)
    node.timed = 99
    note = evidence_of(finish(published(films_service)))["p99"]["note"]
    told = "calls timed in turns: 99, of 100 that are required"
    assert note == f"local; live version 1: 1.50 ms, when each was warmed up; {told}"
    node.timed = 100
    Version.objects.update(p99_ms=1.5)
    note = evidence_of(finish(published(films_service)))["p99"]["note"]
    assert note == "local; live version 2: 1.00 ms, asked in turns; calls timed in turns: 100"


def test_a_p99_of_few_calls_is_better_than_none(films_service, node):
    """Nobody knows what the live version took when it was warmed up."""
    finish(published(films_service))
    Version.objects.update(p99_ms=None)
    node.timed = 0
    check = evidence_of(finish(published(films_service)))["p99"]
    assert check["note"] == "local; live version 1: 1.00 ms, asked in turns; calls timed in turns: 0"
    assert check["limit"] == 5.0


def test_a_node_without_the_live_version_is_judged_by_its_warm_up(films_service, valkey):
    with PaperNode(valkey, "alpha") as alpha:
        finish(published(films_service))
        alpha.load_error = "no memory left"
        with PaperNode(valkey, "beta", p99_ms=(2.0,)):
            build = finish(published(films_service))
    assert (build.state, build.report["placed"]) == ("SUCCEEDED", ["beta"])
    checks = evidence_of(build)
    assert checks["p99"]["note"] == "beta; live version 1: 1.00 ms, when each was warmed up"
    assert checks["overlap with live at 100"]["note"] == "no node holds both it and the live version"


def test_versions_of_two_models_are_compared_and_the_evidence_names_both(films, node, valkey):
    service = make_service(films, guards={"max_score_drift_percent": 20})
    activated(made_version(service, model_version="mind-6"))
    Replica.objects.all().update(results={})
    other_scores(node)
    build = finish(published(service))
    assert build.error_reason == "guard.max_score_drift_percent"
    note = evidence_of(build)["drift of the mean score"]["note"]
    assert note == "against live version 1, of another model (mind-6 -> unnamed)"


def test_when_live_moved_after_the_comparison_the_gate_runs_again(films, node):
    service = make_service(films, guards={"min_overlap_at_k": 0.6})
    finish(published(service))
    finish(published(service))
    service_hold(actor=TESTER, service=refreshed(service), reason="We look into it.")
    build = finish(published(service))
    assert build.error_reason == "activate.service_held"
    actions.version_rollback(actor=TESTER, service=refreshed(service), from_version=2)
    less_overlap(node)
    service_release(actor=TESTER, service=refreshed(service))
    actions.build_override(actor=TESTER, build=build, reason="Released.")
    build = finish(build)
    assert (build.state, build.error_reason, build_view(build)["step"]) == (
        "HELD",
        "guard.min_overlap_at_k",
        "activate",
    )
    assert build.report["compare"]["live"] == 1
    assert Replica.objects.get(version__number=3).orders == []
    actions.build_override(actor=TESTER, build=build, reason="Version 1 is very old.")
    assert (finish(build).state, refreshed(service).live_version) == ("SUCCEEDED", 3)


def test_with_on_approval_a_checked_version_waits_for_a_person(films, node):
    service = make_service(films, versions={"activate": "on_approval"})
    build = finish(published(service))
    assert (build.state, build.error_reason, refreshed(service).live_version) == ("HELD", "approval.required", None)
    assert build.error_message == "Version 1 is checked and waits for a person to activate it (versions.activate)."
    assert "recall activate movies 1" in build_view(build)["error"]["next_step"]
    assert version_view(selectors.version_get(service, 1))["activatable"]

    actions.version_activate(actor=TESTER, service=refreshed(service), number=1, reason="Looks good.")
    assert (finish(build).state, refreshed(service).live_version) == ("SUCCEEDED", 1)
    event = AuditEvent.objects.get(verb="service.activate")
    assert (event.actor, event.reason) == (TESTER.name, "Looks good.")


def test_an_approval_may_be_given_by_overriding_the_build(films, node):
    service = make_service(films, versions={"activate": "on_approval"})
    build = finish(published(service))
    actions.build_override(actor=TESTER, build=build, reason="Looks good.")
    assert (finish(build).state, refreshed(service).live_version) == ("SUCCEEDED", 1)
    event = AuditEvent.objects.get(verb="build.override")
    assert (event.reason, event.before["reason"]) == ("Looks good.", "approval.required")
    assert AuditEvent.objects.get(verb="service.activate").reason == "Looks good."


def test_who_approves_has_seen_every_other_reason_to_hold(films, node):
    service = make_service(films, versions={"activate": "on_approval"})
    service_hold(actor=TESTER, service=service, reason="We look into it.")
    build = finish(published(service))
    assert build.error_reason == "activate.service_held"
    service_release(actor=TESTER, service=refreshed(service))
    actions.build_resume(build=build)
    assert finish(build).error_reason == "approval.required"
