"""An override lets pass what its operator was told: no other guard, no other live version, no other hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bundles import layout
from catalog.actions import service_hold, service_release
from tests.factories import TESTER, make_service
from tests.support.history import activated, asked, made_version, refreshed
from tests.support.source import write_drop
from tests.workers.conftest import finish, published
from versions import actions
from versions.models import Build, Version

# Of the drops here: a newer one would cancel what is held.
NEWEST = "the-newest"
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def overridden(build: Build, why: str = "It is meant.") -> Build:
    actions.build_override(actor=TESTER, build=build, reason=why)
    return finish(build)


def names(build: Build) -> list[str]:
    return [each["name"] for each in build.report["held"]["evidence"]]


@pytest.mark.parametrize(
    ("step", "drop"),
    [("check_counts", {"items": 50, "count": 50}), ("import_items", {"items": 50})],
)
def test_a_count_that_was_let_pass_beside_one_version_is_judged_again_beside_another(
    films_service, folders, steps_until, step, drop
):
    """50 items beside 100 were meant; beside 1,000, which went live while the build was held, nobody has seen them."""
    steps_until(step)
    activated(made_version(films_service, items=100))
    write_drop(films_service, NEWEST, **drop)
    build = finish(asked(films_service))
    assert (build.state, names(build)) == ("HELD", ["max_drop_percent"])
    activated(made_version(films_service, items=1_000))
    build = overridden(build)
    assert (build.state, names(build)) == ("HELD", ["max_drop_percent"]), build.state
    assert "95 % fewer than live (1,000)" in build.error_message
    assert overridden(build).state == "SUCCEEDED"


def test_a_guard_that_hides_behind_an_overridden_one_is_told(films_service, folders, steps_until):
    """Nothing was wrong with the ids beside version 1; beside version 2 they are other ones, too."""
    steps_until("check_items")
    live_with(films_service, folders, first_id=1)
    write_drop(films_service, NEWEST, items=60, scale=3.0)
    build = finish(asked(films_service))
    assert (build.state, names(build)) == ("HELD", ["max_norm_drift_percent"])
    live_with(films_service, folders, first_id=1_001)
    build = overridden(build)
    assert (build.state, sorted(names(build))) == ("HELD", ["max_norm_drift_percent", "min_id_overlap_percent"])


def test_what_does_not_depend_on_live_passes_whatever_is_live(films, folders, steps_until):
    steps_until("import_items")
    service = make_service(films, guards={"max_bad_row_percent": 10})
    write_drop(service, NEWEST, items=40, bad_rows=10)
    build = finish(asked(service))
    assert names(build) == ["max_bad_row_percent"]
    activated(made_version(service, items=40))
    assert overridden(build).state == "SUCCEEDED"


def test_a_promise_that_was_let_pass_says_nothing_of_another_count(films, folders, steps_until):
    """50 were promised; 35 are good."""
    steps_until("import_items")
    service = make_service(films, guards={"min_items": 60, "max_bad_row_percent": 50})
    write_drop(service, "1", items=35, bad_rows=15, count=50)
    build = finish(asked(service))
    assert build.report["held"]["step"] == "check_counts"
    build = overridden(build)
    assert (build.state, build.report["held"]["step"], names(build)) == ("HELD", "import_items", ["min_items"])
    assert overridden(build).state == "SUCCEEDED"


@pytest.mark.parametrize("gate", ["warm_replicas", "check_replicas"])
def test_a_gate_that_was_let_pass_beside_one_version_is_judged_again_beside_another(films, node, gate):
    """Version 1 is live again while build 3, which was compared with version 2, is held."""
    service = make_service(films, guards={"min_overlap_at_k": 0.6})
    for _ in range(2):
        finish(published(service))
    spoil(node, gate)
    build = finish(published(service))
    assert (build.state, build.report["held"]["step"]) == ("HELD", gate)
    actions.version_activate(actor=TESTER, service=service, number=1)
    build = overridden(build)
    step = "warm_replicas" if gate == "warm_replicas" else "activate"
    assert (build.state, build.report["held"]["step"]) == ("HELD", step)
    assert build.report["held"]["told"][0].endswith("beside version 1")
    assert overridden(build).state == "SUCCEEDED"
    assert refreshed(service).live_version == 3


def test_another_hold_of_the_service_is_not_passed_by_the_override_of_one_before(films, node):
    service = make_service(films, versions={"activate": "on_approval"})
    service_hold(actor=TESTER, service=service, reason="We look into it.")
    build = finish(published(service))
    assert build.error_reason == "activate.service_held"
    build = overridden(build)
    assert build.error_reason == "approval.required"
    service_release(actor=TESTER, service=refreshed(service))
    service_hold(actor=TESTER, service=refreshed(service), reason="Something else.")
    build = overridden(build)
    assert (build.state, build.error_reason) == ("HELD", "activate.service_held")
    assert "Something else." in build.error_message
    assert overridden(build).state == "SUCCEEDED"


def test_a_hold_that_a_rollback_sets_at_the_very_switch_is_not_passed(films, node, monkeypatch):
    """The build has looked; the rollback comes before its UPDATE."""
    service = make_service(films)
    for _ in range(2):
        finish(published(service))
    service_hold(actor=TESTER, service=refreshed(service), reason="We look into it.")
    build = finish(published(service))
    switch = actions.version_activate
    rolled_back: list[Any] = []

    def overtaken(**told: Any) -> Any:
        if not rolled_back:
            rolled_back.append(actions.version_rollback(actor=TESTER, service=refreshed(service), from_version=2))
        return switch(**told)

    monkeypatch.setattr(actions, "version_activate", overtaken)
    build = overridden(build)
    assert (build.state, build.error_reason, refreshed(service).live_version) == ("HELD", "activate.service_held", 1)
    assert "Rolled back from version 2" in build.error_message


def live_with(service, folders, *, first_id: int) -> None:
    """A live version with 60 items whose ids begin there, and vectors of the usual length."""
    version = made_version(service, items=60)
    folder = folders / f"live-{first_id}"
    folder.mkdir()
    np.save(folder / layout.ID_KEYS, np.arange(first_id, first_id + 60))
    np.save(folder / layout.ID_ROWS, np.arange(60))
    report = {"import": {"mean_norm": 1.9}}
    Version.objects.filter(pk=version.pk).update(artifact=str(folder), report=report)
    activated(version)


def spoil(node, gate: str) -> None:
    if gate == "warm_replicas":
        node._p99_ms = [50.0]
    else:
        node.likeness = {**node.likeness, "overlap": 0.4}
