"""A build begins only where it fits: what does not fit is held with its number, what will fit waits in line."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from audit.models import AuditEvent
from replicas.filters import matcher
from tenants.actions import quota_update
from tests.factories import TESTER, make_service
from tests.support.history import activated, asked, claimed, made_version, report, seen, unfinished_version
from tests.support.paper_node import PaperNode
from tests.support.source import write_drop
from tests.workers.conftest import finish, imported
from versions import actions, sizes
from versions.actions import Claim
from versions.models import Build, Node, Replica, Version
from versions.sizes import Plan
from versions.views import build_view
from workers import machine, pipeline, rooms
from workers.machine import Memory

pytestmark = pytest.mark.django_db(transaction=True)

GB = 10**9
GRAPH = {"engine": "hnsw", "search": {"at": 10}}
LONG_AGO = "2020-01-01T00:00:00+00:00"


@pytest.fixture(autouse=True)
def up_to_admission(steps_until) -> None:
    steps_until("admit")


@pytest.fixture
def busy(monkeypatch):
    """The machine that builds has so much memory left, and other builds there hold so much."""

    def say(*, available: int, held: int = 0) -> None:
        monkeypatch.setattr(machine, "memory", lambda: Memory(16 * GB, available))
        monkeypatch.setattr(machine, "held_by_children", lambda _pid: held)

    return say


def test_what_fits_is_admitted_and_its_prediction_is_told(films, folders, valkey):
    build = finish(imported(make_service(films, **GRAPH), folders))
    assert build.state == "SUCCEEDED", build.error_message
    told = build.report["admit"]
    assert told["predicted"] == told["formula"]
    assert told["predicted"]["index_files"] == 1_000 * (4 * 4 + 8 * 16 + 20)
    assert build.steps.get(name="admit").detail.startswith("Predicted: 64 MB to build, 136 MB in each replica")
    assert {room["name"] for room in told["rooms"]} >= {"items_max", "memory_bytes_max", "build_memory_bytes"}
    assert all(room["need"] <= room["free"] for room in told["rooms"])


def test_a_build_over_the_cap_is_held_with_the_number_and_the_remedy_and_no_override_passes(
    films_service, folders, valkey, settings
):
    settings.BUILD_MEMORY_BYTES_MAX = 32 * 10**6
    build = finish(imported(films_service, folders))
    assert (build.state, build.error_reason) == ("HELD", "admit.memory")
    assert "needs 64 MB of memory; a build may have 32 MB. Raise RECALL_BUILD_MEMORY_BYTES_MAX" in build.error_message
    [evidence] = build.report["held"]["evidence"]
    assert (evidence["name"], evidence["value"], evidence["limit"]) == (
        "build_memory_bytes_max",
        64 * 10**6,
        32 * 10**6,
    )
    error = build_view(build)["error"]
    assert (error["effect"], error["next_step"][:21]) == ("Nothing is serving yet.", "Make room as it says,")

    actions.build_override(actor=TESTER, build=build, reason="I believe it fits.")
    assert (finish(build).state, AuditEvent.objects.get(verb="build.override").reason) == ("HELD", "I believe it fits.")
    settings.BUILD_MEMORY_BYTES_MAX = GB
    actions.build_override(actor=TESTER, build=build, reason="Now there is room.")
    assert finish(build).state == "SUCCEEDED"


def test_without_memory_that_anybody_gives_back_it_is_held_at_once(films_service, folders, valkey, busy):
    busy(available=int(0.85 * GB))
    build = finish(imported(films_service, folders))
    assert (build.state, build.error_reason) == ("HELD", "admit.memory")
    assert f"on {socket.gethostname()}, where 50 MB are free for it" in build.error_message


def test_it_waits_for_the_memory_of_a_build_that_runs_and_goes_on_when_that_has_ended(
    films_service, books_service, folders, valkey, busy
):
    busy(available=int(0.85 * GB), held=2 * GB)
    other = in_line(asked(books_service), build_bytes=2 * GB)
    build = imported(films_service, folders)
    ring(build)
    step = build.steps.get(name="admit")
    assert (build.state, build.lease_until, step.state) == ("RUNNING", None, "RUNNING")
    assert step.detail.startswith("Waits for room. The build needs 64 MB of memory")
    actions.build_succeed(other)
    busy(available=3 * GB)
    assert finish(build).state == "SUCCEEDED"


def test_memory_that_was_promised_to_a_build_before_is_not_free_though_nobody_holds_it_yet(
    films_service, books_service, folders, valkey, busy
):
    busy(available=3 * GB)
    in_line(asked(books_service), build_bytes=3 * GB)
    build = imported(films_service, folders)
    assert ring(build).state == "RUNNING"
    assert "where 0 MB are free for it" in build.steps.get(name="admit").detail


def test_it_does_not_wait_for_ever(films_service, books_service, folders, valkey, busy, settings):
    busy(available=int(0.85 * GB), held=2 * GB)
    in_line(asked(books_service), build_bytes=2 * GB)
    build = imported(films_service, folders)
    assert ring(build).state == "RUNNING"
    build.steps.filter(name="admit").update(started_at=LONG_AGO)
    assert (finish(build).state, Build.objects.get(pk=build.pk).error_reason) == ("HELD", "admit.memory")


def test_without_disk_it_is_held_unless_files_are_about_to_be_deleted(films, folders, valkey, monkeypatch):
    service = make_service(films, **GRAPH)
    monkeypatch.setattr(machine, "disk_free_bytes", lambda _path: rooms.DISK_SPARE_BYTES + 1)
    build = finish(imported(service, folders))
    assert (build.state, build.error_reason) == ("HELD", "admit.disk")
    assert "Free disk there, or keep fewer versions" in build.error_message
    old = made_version(service, items=1_000)
    Version.objects.filter(pk=old.pk).update(state="RETIRING", bytes=GB)
    waiting = imported(service, folders)
    assert ring(waiting).state == "RUNNING"
    assert waiting.steps.get(name="admit").detail.startswith("Waits for room. The version needs 0 MB of disk")


def test_two_disks_each_have_to_hold_their_part(films, folders, valkey, monkeypatch, settings):
    monkeypatch.setattr(machine, "is_one_disk", lambda *_: False)
    free = {settings.RECALL_WORK: 100 * GB, settings.RECALL_ARTIFACTS: rooms.DISK_SPARE_BYTES}
    monkeypatch.setattr(machine, "disk_free_bytes", free.__getitem__)
    build = finish(imported(make_service(films, **GRAPH), folders))
    assert [each["name"] for each in build.report["held"]["evidence"]] == ["artifact_disk_bytes"]


def test_a_replica_has_to_fit_beside_live_and_previous_on_as_many_nodes_as_there_shall_be(films, folders, valkey):
    """5 % of the 16 GiB of a node are left to others; 900 MB free are too few for a replica, 1.2 GB are not."""
    one = make_service(films, "one")
    two = make_service(films, "two", replicas={"count": 2})
    small = PaperNode(valkey, "small", memory_available_bytes=900 * 10**6)
    with small, PaperNode(valkey, "large", memory_available_bytes=1200 * 10**6):
        assert finish(imported(one, folders)).state == "SUCCEEDED"
        held = finish(imported(two, folders))
    assert (held.state, held.error_reason) == ("HELD", "admit.memory")
    assert "A replica of the new version needs 136 MB of memory beside the live and the previous one; on small" in (
        held.error_message
    )
    assert [each["what"] for each in held.report["held"]["evidence"]] == ["memory on small"]


def test_what_is_still_to_be_loaded_on_a_node_is_not_free(films_service, books_service, folders, valkey):
    """1.4 GB are free and 5 % of 16 GiB are left alone; two versions that load there need 136 MB each."""
    with PaperNode(valkey, "local", memory_available_bytes=1400 * 10**6):
        for _ in range(2):
            activated(made_version(books_service, items=1_000))
        build = finish(imported(films_service, folders))
    assert build.state == "SUCCEEDED", build.error_message
    room = next(room for room in build.report["admit"]["rooms"] if room["name"] == "replica_memory_bytes")
    live = sum(map(sizes.memory_of, Version.objects.filter(service=books_service)))
    assert room["free"] == 1400 * 10**6 - int(0.05 * 2**34) - live


def test_memory_of_a_version_that_leaves_is_waited_for(films_service, folders, valkey):
    leaving = made_version(films_service, items=1_000)
    report("local", seen(Replica.objects.get(), rss_bytes=GB))
    Version.objects.filter(pk=leaving.pk).update(state="RETIRING")
    Node.objects.update(memory_available_bytes=500 * 10**6)
    build = imported(films_service, folders)
    assert ring(build).state == "RUNNING"
    assert "on local 0 MB are free for it" in build.steps.get(name="admit").detail


def test_items_over_the_tenants_quota_are_held_before_the_import_and_no_override_passes(films, folders, valkey):
    quota_update(actor=TESTER, tenant=films, items_max=150)
    activated(made_version(make_service(films, "series"), items=100))
    service = make_service(films)
    activated(made_version(service, items=140))
    write_drop(service, "20260101", items=60, count=60)
    build = finish(asked(service))
    assert (build.state, build.error_reason, build_view(build)["step"]) == ("HELD", "quota.items_max", "check_counts")
    assert build.error_message.startswith("60 items, and 100 in other services of films; the tenant's quota allows 150")
    assert build.report["held"]["evidence"] == [
        {"name": "items_max", "value": 60, "limit": 50, "what": "items of the tenant"}
    ]
    actions.build_override(actor=TESTER, build=build, reason="Please.")
    assert finish(build).error_reason == "quota.items_max"
    assert AuditEvent.objects.filter(verb="build.override").count() == 1


def test_items_that_nobody_promised_are_counted_against_the_quota_at_admission(films, books_service, folders, valkey):
    quota_update(actor=TESTER, tenant=films, items_max=1_500)
    activated(made_version(books_service, items=1_000_000))
    first = imported(make_service(films, "one"), folders)
    assert finish(first).state == "SUCCEEDED"
    in_line(asked(make_service(films, "two")), items=1_000)
    build = finish(imported(make_service(films, "three"), folders))
    assert (build.state, build.error_reason) == ("HELD", "quota.items_max")
    assert build.error_message.startswith("1,000 items, and 1,000 in other services of films")
    quota_update(actor=TESTER, tenant=films, items_max=2_000)
    actions.build_override(actor=TESTER, build=build, reason="Dana has raised it.")
    assert finish(build).state == "SUCCEEDED"


def test_memory_over_the_tenants_quota_is_held_and_what_leaves_is_waited_for(films, folders, valkey):
    quota_update(actor=TESTER, tenant=films, memory_bytes_max=1_100 * 10**6)
    service = make_service(films)
    version = activated(made_version(make_service(films, "series"), items=1_000))
    report("local", seen(Replica.objects.get(), rss_bytes=GB))
    held = finish(imported(service, folders))
    assert (held.state, held.error_reason) == ("HELD", "quota.memory_bytes_max")
    assert "needs 136 MB of memory in 1 replicas beside the 1.00 GB that films has loaded" in held.error_message
    Version.objects.filter(pk=version.pk).update(state="RETIRING")
    waiting = imported(service, folders)
    assert ring(waiting).state == "RUNNING"


def test_builds_stand_in_line_and_one_that_comes_again_goes_to_its_end(films_service, books_service, folders, valkey):
    quota_update(actor=TESTER, tenant=films_service.tenant, builds_at_once_max=3)
    first, second = claimed(asked(films_service)), claimed(asked(books_service))
    assert take(first, since="a") == []
    assert take(second, since="a") == [first.build_id]
    assert take(first, since="a") == [], "a place is kept over waits"
    assert take(first, since="b") == [second.build_id], "after a crash or a retry others may have been admitted"
    actions.build_succeed(second)
    assert take(first, since="b") == []


def test_a_build_whose_version_is_loaded_has_left_the_line(films_service, books_service, valkey):
    claim, _ = unfinished_version(films_service)
    take(claim, since="a")
    actions.steps_prepare(claim, ["publish_artifact", "place_replicas"])
    later = claimed(asked(books_service))
    [before] = actions.admission_take(later, since="a", need={})
    assert (before.built, before.placed) == (False, True)
    actions.step_start(claim, "publish_artifact")
    actions.step_done(claim, "publish_artifact", report={}, context={})
    [before] = actions.admission_take(later, since="a", need={})
    assert (before.built, before.placed) == (True, True)
    actions.step_start(claim, "place_replicas")
    actions.step_done(claim, "place_replicas", report={}, context={})
    assert take(later, since="a") == []


def test_after_a_crash_before_the_index_was_built_it_is_admitted_again(films_service, folders, valkey, monkeypatch):
    build = imported(films_service, folders)

    def crash(_ctx: Any) -> Any:
        raise SystemExit

    monkeypatch.setattr(pipeline, "STEPS", (*pipeline.STEPS, pipeline.Step("build_index", crash)))
    with pytest.raises(SystemExit):
        ring(build)
    first = Build.objects.get(pk=build.pk).context["admission"]
    Build.objects.filter(pk=build.pk).update(lease_until=LONG_AGO)
    with pytest.raises(SystemExit):
        pipeline.run(build.pk)
    again = Build.objects.get(pk=build.pk).context["admission"]
    assert again["since"] > first["since"]


PLAN = Plan("flat", {}, {"dimension": 4, "metric": "ip"}, 100, 100, 2_000)


def test_a_replica_whose_items_can_be_filtered_is_given_room_for_what_it_remembers_of_filters():
    attributes = [{"name": "year", "type": "int64"}]
    plain, filtered = (
        sizes.formula(replace(PLAN, schema={**PLAN.schema, "attributes": each})) for each in ([], attributes)
    )
    remembered = matcher.ROWS_BYTES_MAX + matcher.TRUTHS_BYTES_MAX + matcher.TEXTS_BYTES_MAX
    assert filtered == replace(plain, replica=plain.replica + remembered)


def test_what_earlier_builds_measured_corrects_the_prediction_upwards(films_service):
    """A version on paper has 1,000 bytes of files for each item."""
    plain = sizes.formula(PLAN)
    assert sizes.corrections(films_service, PLAN) == sizes.Corrections()
    version = made_version(films_service, items=100)
    learned = {"index": {"peak_rss_bytes": 2 * plain.build}, "admit": {"formula": {"artifact": 50_000}}}
    Version.objects.filter(pk=version.pk).update(report=learned)
    report("local", seen(Replica.objects.get(), rss_bytes=3 * plain.replica))
    found = sizes.corrections(films_service, PLAN)
    assert found.learned_from == (1,)
    assert found.build == pytest.approx(2.0, rel=0.01)
    assert found.replica == pytest.approx(3.0, rel=0.01)
    assert found.artifact == 2.0
    assert sizes.predicted(PLAN, found).build == int(plain.build * found.build)


def test_what_is_not_alike_teaches_nothing_and_no_lesson_is_boundless(films_service):
    version = made_version(films_service, items=100)
    Version.objects.filter(pk=version.pk).update(report={"index": {"peak_rss_bytes": 100 * GB}})
    assert sizes.corrections(films_service, PLAN).build == sizes.CORRECTION_MAX
    larger = Plan("flat", {}, PLAN.schema, 401, 401, 8_000)
    assert sizes.corrections(films_service, larger).learned_from == ()
    another = Plan("hnsw", {"M": 16}, PLAN.schema, 100, 100, 2_000)
    assert sizes.corrections(films_service, another).learned_from == ()
    Version.objects.filter(pk=version.pk).update(report={"index": {"peak_rss_bytes": 1}})
    assert sizes.corrections(films_service, PLAN).build == 1.0, "never below the formula"


def ring(build: Build) -> Build:
    Build.objects.filter(pk=build.pk, wake_at__isnull=False).update(wake_at=LONG_AGO)
    pipeline.run(build.pk)
    build.refresh_from_db()
    return build


def take(claim: Claim, *, since: str) -> list[int]:
    return [each.build.pk for each in actions.admission_take(claim, since=since, need={"items": 1})]


def in_line(build: Build, **need: int) -> Claim:
    """A build that was admitted on this machine and is being built."""
    nothing = {"items": 0, "build_bytes": 0, "replica_bytes": 0, "replicas": 1, "disk_bytes": 0}
    claim = claimed(build)
    here = {"machine": socket.gethostname(), "pid": os.getpid()}
    actions.admission_take(claim, since="", need={**nothing, **here, **need})
    return claim
