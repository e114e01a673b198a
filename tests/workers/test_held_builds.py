"""Each guard before the index: a bad drop is held with evidence and alert, an override lets it pass and is audited."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from alerts.models import Alert
from audit.models import AuditEvent
from bundles import layout
from catalog.models import Service
from tests.factories import TESTER, make_service
from tests.support.history import activated, asked, made_version
from tests.support.source import write_drop
from tests.workers.conftest import finish, published
from versions import actions
from versions.models import Build, Version
from versions.views import build_view

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

LIVE_ITEMS = 100
OFF = {"max_drop_percent": None, "max_growth_percent": None}


@pytest.mark.parametrize(
    ("guard", "limit", "items", "value"),
    [
        ("min_items", 200, 150, 150),
        ("max_items", 120, 150, 150),
        ("max_drop_items", 10, 50, 50),
        ("max_drop_percent", 20, 50, 50.0),
        ("max_growth_items", 10, 150, 50),
        ("max_growth_percent", 20, 150, 50.0),
    ],
)
def test_a_count_out_of_its_guard_is_held_told_overridden_and_audited(
    films, folders, steps_until, guard, limit, items, value
):
    steps_until("check_counts")
    service = made_live(make_service(films, guards={**OFF, guard: limit}))
    build = delivered(service, items=items, count=items)
    assert_held_and_then_passed(build, "check_counts", guard, value, limit)


def test_too_many_bad_rows_are_held_told_overridden_and_audited(films, folders, steps_until):
    steps_until("import_items")
    service = make_service(films, guards={"max_bad_row_percent": 10})
    build = delivered(service, items=40, bad_rows=10)
    assert_held_and_then_passed(build, "import_items", "max_bad_row_percent", 20.0, 10)


def test_what_an_override_of_an_import_lets_pass_was_told_all_of_it(films, folders, steps_until):
    """An override that passed a count which nobody was told of would be none."""
    steps_until("import_items")
    service = made_live(make_service(films))
    build = delivered(service, items=40, bad_rows=10)
    names = [each["name"] for each in build.report["held"]["evidence"]]
    assert names == ["max_bad_row_percent", "max_drop_percent"]
    assert "40 items, 60 % fewer than live (100)" in build.error_message


def test_the_count_of_the_import_is_judged_though_the_promise_was_good(films, folders, steps_until):
    """50 rows are promised and delivered, and 15 of them are not good."""
    steps_until("import_items")
    guards = {"min_items": 40, "max_bad_row_percent": 50}
    build = delivered(make_service(films, guards=guards), items=35, bad_rows=15, count=50)
    assert_held_and_then_passed(build, "import_items", "min_items", 35, 40)


def test_ids_that_live_does_not_know_are_held_told_overridden_and_audited(films, folders, steps_until, node):
    service = make_service(films)
    live_by_build(service)
    steps_until("check_items")
    build = delivered(service, name="2", items=60, first_id=41)
    assert build.error_message.startswith("33.33 % of the ids are shared with live (20 of 60); at least 50 % must be")
    assert_held_and_then_passed(build, "check_items", "min_id_overlap_percent", 33.333, 50)


def test_vectors_of_another_length_are_held_told_overridden_and_audited(films, folders, steps_until, node):
    service = make_service(films)
    live_by_build(service)
    steps_until("check_items")
    build = delivered(service, name="2", items=60, scale=3.0)
    assert "200 % away from live" in build.error_message
    assert_held_and_then_passed(build, "check_items", "max_norm_drift_percent", 200.0, 50)


def test_when_another_version_went_live_meanwhile_items_are_compared_with_that_one(films_service, folders, node):
    """Version 3 has the items of version 1, and version 2, which has others, goes live before it."""
    finish(published(films_service))
    finish(published(films_service))
    build = published(films_service)
    for number, first_id in ((1, 1), (2, 1_001), (3, 1)):
        folder = folders / f"v{number}"
        folder.mkdir()
        np.save(folder / layout.ID_KEYS, np.arange(first_id, first_id + 60))
        np.save(folder / layout.ID_ROWS, np.arange(60))
        Version.objects.filter(number=number).update(artifact=str(folder))
    for number in (1, 2):
        actions.version_activate(actor=TESTER, service=films_service, number=number)
    build = finish(build)
    assert (build.state, build.error_reason) == ("HELD", "guard.min_id_overlap_percent"), build.error_message
    assert build_view(build)["step"] == "activate"
    actions.build_override(actor=TESTER, build=build, reason="The first catalogue was right.")
    assert finish(build).state == "SUCCEEDED"


def test_growth_is_no_matter_of_overlap(films, folders, steps_until, node):
    """The live items are all there, among three times as many new ones."""
    service = make_service(films)
    live_by_build(service)
    steps_until("check_items")
    build = delivered(service, name="2", items=240)
    assert build.state == "SUCCEEDED", build.error_message
    assert build.report["items"]["ids"] == {"items": 240, "live_items": 60, "shared": 60}
    samples = build.report["items"]["samples"]
    assert (len(samples["added"]), samples["removed"], len(samples["kept"])) == (10, [], 10)


def test_a_first_version_has_nothing_to_be_compared_with(films_service, folders, steps_until):
    steps_until("check_items")
    build = delivered(films_service)
    assert build.state == "SUCCEEDED"
    assert build.steps.get(name="check_items").detail == "There is no live version to compare with."


def test_a_changed_schema_compares_what_can_be_compared(films, folders, steps_until, node):
    service = make_service(films)
    live_by_build(service)
    Service.objects.filter(pk=service.pk).update(
        spec={**service.spec, "schema": {**service.spec["schema"], "dimension": 5, "id_type": "string"}}
    )
    steps_until("check_items")
    service.refresh_from_db()
    build = delivered(service, name="2", dimension=5, texts=True, scale=9.0)
    assert build.state == "SUCCEEDED", build.error_message
    assert (build.report["items"]["ids"], build.report["items"]["norms"]) == (None, None)


def test_a_live_version_whose_files_are_gone_is_not_compared_with_and_that_is_said(films_service, folders, steps_until):
    steps_until("check_items")
    made_live(films_service)
    build = delivered(films_service, items=100)
    assert build.state == "SUCCEEDED", build.error_message
    assert build.report["warnings"][0].startswith("The files of the live version cannot be read")


def test_an_attribute_that_has_lost_all_its_values_is_told(films, folders, steps_until, node):
    attributes = [{"name": "year", "type": "int64"}]
    service = make_service(films, schema={"dimension": 4, "metric": "ip", "attributes": attributes})
    write_drop(service, "1", attributes={"year": [2000 + row for row in range(60)]})
    assert finish(asked(service)).state == "SUCCEEDED"
    steps_until("check_items")
    build = delivered(service, name="2", attributes={"year": pa.nulls(60, pa.int64())})
    assert build.state == "SUCCEEDED", build.error_message
    assert build.report["warnings"] == ["No item has a value for year; in version 1 100 % have one."]
    assert build.report["items"]["attributes"]["year"]["type"] == "int64"


def delivered(service: Service, *, name: str = "1", **drop: Any) -> Build:
    write_drop(service, name, **drop)
    return finish(asked(service))


def made_live(service: Service) -> Service:
    """With a version on paper, of which no file is read."""
    activated(made_version(service, items=LIVE_ITEMS))
    return service


def live_by_build(service: Service) -> None:
    write_drop(service, "1", items=60)
    assert finish(asked(service)).state == "SUCCEEDED"


def assert_held_and_then_passed(build: Build, step: str, guard: str, value: float, limit: float) -> None:
    live = build.service.live_version
    assert (build.state, build.error_reason) == ("HELD", f"guard.{guard}"), build.error_message
    assert build_view(build)["step"] == step
    evidence = {"name": guard, "value": value, "limit": limit, "what": "found"}
    assert build.report["held"]["evidence"] == [evidence]
    assert f"(guards.{guard})" in build.error_message
    alert = Alert.objects.get(reason=f"guard.{guard}", subject=f"build {build.number}")
    assert (alert.state, alert.message, alert.evidence["checks"]) == ("OPEN", build.error_message, [evidence])
    actions.build_override(actor=TESTER, build=build, reason="It is meant.")
    alert.refresh_from_db()
    assert alert.state == "RESOLVED"
    build = finish(build)
    assert (build.state, build.steps.get(name=step).state) == ("SUCCEEDED", "DONE")
    assert build.overrides == {step: {f"guard.{guard}": "It is meant."}}
    event = AuditEvent.objects.get(verb="build.override", target=f"build {build.number}")
    assert (event.reason, event.actor, event.before["evidence"]) == ("It is meant.", TESTER.name, [evidence])
    build.service.refresh_from_db()
    assert build.service.live_version == live
