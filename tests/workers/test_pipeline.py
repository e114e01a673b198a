"""A build from drop to live: real database, Valkey and children; the node is on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audit.models import AuditEvent
from bundles.artifact import open_artifact
from bundles.durable import sync_work
from documents.store import ROUTES
from engines import registry
from engines.base import SearchEffort
from recallpb.internal.v1 import documents_pb2
from replicas.loaded import load
from tests.factories import TESTER, make_service
from tests.support.history import asked, refreshed
from tests.workers.conftest import finish
from versions import actions, selectors
from versions.models import Build, Replica, Version
from versions.selectors import build_view
from versions.steps import KEPT_IN_WORK
from workers import pipeline
from workers.context import BuildContext
from workers.outcomes import Hold, Outcome, Wait

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


def test_a_drop_becomes_the_live_version_and_the_same_drop_again_is_cancelled(films_service, build_of, node, valkey):
    build = build_of(films_service, "20260101", count=60, model_version="mind-7")

    view = build_view(build)
    assert (view["state"], view["step"], view["version"], view["error"]) == ("SUCCEEDED", "", 1, None)
    assert [step["name"] for step in view["steps"]] == [step.name for step in pipeline.STEPS]
    assert {step["state"] for step in view["steps"]} == {"DONE"}
    assert (view["drop"]["name"], view["drop"]["count"]) == ("20260101", 60)
    version = selectors.version_get(films_service, 1)
    assert (version.state, version.items, version.engine, version.model_version) == ("READY", 60, "flat", "mind-7")
    assert (version.recall, version.p99_ms, version.report["import"]["good_rows"]) == (1.0, 1.0, 60)
    artifact = open_artifact(Path(version.artifact), version.manifest_sha256)
    known = artifact.known()
    assert known is not None
    assert (artifact.manifest["version"], artifact.items, known[1].shape) == (1, 60, (50, 10))
    service = refreshed(films_service)
    assert (service.live_version, service.live_generation) == (1, 1)
    assert AuditEvent.objects.get(verb="service.activate").actor == "build 1"
    route = documents_pb2.Route.FromString(valkey.client().hget(ROUTES.docs_key, "films/movies") or b"")
    assert [(found.version, len(found.replicas)) for found in route.versions] == [(1, 1)]
    assert Replica.objects.get().orders == []
    assert node.executed == ["v1-warm-1", "v1-check"]

    again = finish(asked(films_service))
    assert (again.state, again.error_reason, again.version_number) == ("CANCELLED", "build.duplicate", None)
    assert again.error_message == "Drop 20260101 under this spec is version 1 (build 1)."
    assert again.report["same_as"] == {"build": 1, "version": 1, "state": "SUCCEEDED"}
    assert "`force`" in build_view(again)["error"]["next_step"]


def test_what_a_step_leaves_is_on_the_disk_before_the_step_counts_as_done(films_service, build_of, node, monkeypatch):
    kept_when_synced = []

    def note(folder: Path) -> None:
        (build,) = Build.objects.filter(work_dir=str(folder))
        done = set(build.steps.filter(state="DONE").values_list("name", flat=True))
        kept_when_synced.append([name for name in KEPT_IN_WORK if name in done])
        sync_work(folder)

    monkeypatch.setattr(pipeline, "sync_work", note)
    assert build_of(films_service, "20260101").state == "SUCCEEDED"
    assert kept_when_synced == [list(KEPT_IN_WORK[:count]) for count in range(len(KEPT_IN_WORK))]


@pytest.mark.parametrize("engine", registry.names())
def test_a_service_in_partitions_answers_as_one_in_one_piece(films, build_of, node, engine):
    """Sub-indexes by id modulo, built in one go, published with checksums, and opened again by a replica."""
    whole = make_service(films, "whole", engine={"name": engine})
    parted = make_service(films, "parted", engine={"name": engine, "partitions": 3})
    loaded = []
    for service in (whole, parted):
        build = build_of(service, "1", items=500)
        assert build.state == "SUCCEEDED", build.error_message
        version = selectors.version_get(service, 1)
        loaded.append(load(Path(version.artifact), version.manifest_sha256, search_threads=2))
    _, three = loaded
    assert version.report["index"]["partition_rows"] == [166, 167, 167]
    assert three.artifact.manifest["engine"]["partitions"] == 3
    assert [number % 3 for number in three.ids[[0, 165, 166, 332, 333, 499]]] == [0, 0, 1, 1, 2, 2]
    listed = [name for name in three.artifact.manifest["files"] if name.startswith("index/")]
    assert {name.split("/")[1] for name in listed} <= {"partitions.json", *(f"partition-{part}" for part in range(3))}
    queries = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
    found = [version.ids[version.searcher.search(queries, 10, SearchEffort(ef=100))[0]] for version in loaded]
    alike = np.mean([np.isin(a, b).mean() for a, b in zip(*found, strict=True)])
    assert alike >= registry.describe(engine).recall_floor
    for version in loaded:
        version.close()


def test_a_drop_with_too_few_items_is_held_before_anything_costly(films, build_of, node):
    service = make_service(films, guards={"min_items": 100})
    build = build_of(service, "20260101", items=60, count=60)
    assert (build.state, build.error_reason, build.work_dir) == ("HELD", "guard.min_items", "")
    assert build_view(build)["step"] == "check_counts"
    assert build.error_message.startswith("The manifest promises 60 items; at least 100 must be there")
    assert build.report["held"]["evidence"] == [{"name": "min_items", "value": 60, "limit": 100, "what": "found"}]
    assert build_view(build)["error"]["effect"] == "Nothing is serving yet."


@pytest.mark.servers
def test_what_the_import_finds_is_held_and_not_imported_again_after_an_override(films, build_of, node):
    """No count is promised, so the import counts; two rows of 62 are bad; an operator lets both pass."""
    service = make_service(films, guards={"min_items": 100})
    build = build_of(service, "20260101", items=60, bad_rows=2)
    assert (build.state, build.error_reason) == ("HELD", "guard.max_bad_row_percent")
    assert build_view(build)["step"] == "import_items"
    assert build.error_message.startswith("3.23 % of the rows are bad (2 ")
    assert [row["row"] for row in build.report["import"]["bad"]] == [61, 62]
    work_dir = build.work_dir
    actions.build_override(actor=TESTER, build=build, reason="The two films were withdrawn.")
    build = finish(build)
    assert (build.state, build.work_dir, refreshed(service).live_version) == ("SUCCEEDED", work_dir, 1)
    assert build.report["overridden"][0]["reason"] == "guard.max_bad_row_percent"


@pytest.mark.servers
def test_the_count_that_the_import_found_is_guarded_too(films, build_of, node):
    service = make_service(films, guards={"min_items": 100})
    held = build_of(service, "20260101", items=60)
    assert (held.state, held.error_reason, build_view(held)["step"]) == ("HELD", "guard.min_items", "import_items")
    assert build_of(service, "20260102", items=20, count=20).state == "HELD"
    held.refresh_from_db()
    assert (held.state, held.error_reason) == ("CANCELLED", "build.superseded")


def test_a_newer_drop_that_is_not_complete_is_told_with_the_build_and_with_its_duplicate(
    films_service, build_of, node, folders
):
    (folders / "drops" / "films" / "movies" / "20260102").mkdir(parents=True)
    build = build_of(films_service, "20260101")
    told = "20260102 is newer but has no manifest.json or _SUCCESS"
    assert (build.state, build_view(build)["drop"]["skipped"]) == ("SUCCEEDED", [told])
    assert build.steps.get(name="resolve_drop").detail == f"20260101; {told}"
    again = finish(asked(films_service))
    assert again.error_reason == "build.duplicate"
    assert again.error_message.endswith(f"is version 1 (build 1). {told}.")


def test_without_a_drop_the_build_fails_and_says_so(films_service, folders):
    build = finish(asked(films_service))
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "drop.not_found", "user")
    assert build_view(build)["step"] == "resolve_drop"
    assert build.steps.get(name="resolve_drop").state == "FAILED"
    sources = folders / "drops" / "films"
    assert f"There is no folder `movies`: file:movies/ is {sources / 'movies'}." in build.error_message
    assert f"lie in {sources}; the platform's setting RECALL_DROPS" in build.error_message


def test_a_drop_that_a_build_cannot_begin_with_is_named(films_service, folders):
    """A retry looks for the newest drop all the same: what was named is not what was asked for."""
    broken = folders / "drops" / "films" / "movies" / "20260102"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("nonsense")
    build = finish(asked(films_service))
    assert (build.state, build.error_reason, build.drop_name) == ("FAILED", "drop.bad_manifest", "")
    assert build_view(build)["drop"]["name"] == "20260102"
    assert build.error_message.startswith("Drop `20260102`: ")


def test_a_build_that_repeats_an_unfinished_one_leads_to_that(films, build_of):
    service = make_service(films, guards={"min_items": 100})
    assert build_of(service, "20260101", items=60, count=60).state == "HELD"
    again = finish(asked(service))
    assert (again.state, again.error_reason) == ("CANCELLED", "build.duplicate")
    assert again.error_message == "Build 1 is of drop 20260101 under this spec, and has not ended."
    assert build_view(again)["error"]["next_step"] == "Follow build 1."


def test_a_drop_of_the_wrong_dimension_fails(films_service, build_of, node):
    build = build_of(films_service, "20260102", dimension=5)
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "drop.dimension_mismatch", "user")
    assert (refreshed(films_service).live_version, Version.objects.count(), node.placed) == (None, 0, [])


@pytest.mark.servers
def test_a_failed_build_is_retried_from_where_it_failed(films_service, build_of, node):
    node.load_error = "the disk is full"
    build = build_of(films_service, "20260101")
    assert (build.state, build.error_reason) == ("FAILED", "replica.load_failed")
    assert "local: the disk is full" in build.error_message
    assert Version.objects.get().state == "FAILED"
    assert Replica.objects.get().state in ("WITHDRAWN", "GONE")
    imported_at = build.steps.get(name="import_items").ended_at
    node.load_error = ""

    build = finish(actions.build_retry(actor=TESTER, build=build))

    assert (build.state, build.version_number, refreshed(films_service).live_version) == ("SUCCEEDED", 2, 2)
    assert build.steps.get(name="import_items").ended_at == imported_at


@pytest.mark.servers
def test_an_index_below_the_recall_guard_is_held_and_below_the_target_warns(films, build_of, node):
    poor = {"name": "hnsw", "params": {"M": 2, "ef_construction": 8}}
    search = {"at": 10, "recall_target": 1.0}
    limits = {"max_ef": 20}
    service = make_service(films, engine=poor, search=search, guards={"min_recall": 1.0}, limits=limits)
    build = build_of(service, "1", items=4000)
    assert (build.state, build.error_reason) == ("HELD", "guard.min_recall")
    assert build.report["held"]["evidence"][0]["value"] < 1.0
    tuned = build.report["tune"]
    assert (tuned["reached"], tuned["search_params"]["ef"], tuned["curve"][-1]["ef"]) == (False, 20, 20)
    assert "The curve of recall was measured up to ef 20, the highest that is allowed." in build.error_message
    actions.build_override(actor=TESTER, build=build, reason="Good enough for the trial.")
    build = finish(build)
    assert build.state == "SUCCEEDED"
    assert "below the target of 1.0" in build.report["warnings"][0]


@pytest.mark.parametrize("outcome", [Hold("guard.min_recall", "Too low."), Wait(5.0, detail="Waits for room.")])
def test_a_cancel_while_a_step_ends_in_a_hold_or_a_wait_is_heard_before_the_lease_looks(
    films_service, folders, monkeypatch, outcome
):
    build = asked(films_service)

    def step(ctx: BuildContext) -> Outcome:
        actions.build_cancel(actor=TESTER, build=build)
        return outcome

    monkeypatch.setattr(pipeline, "STEPS", (pipeline.Step("admit", step),))
    pipeline.run(build.pk)
    build.refresh_from_db()
    assert (build.state, build.error_reason, build.error_message) == (
        "CANCELLED",
        "build.cancelled",
        "Cancelled by tests.",
    )
    assert build.steps.get().state == "CANCELLED"


def test_what_nobody_foresaw_is_the_platforms_and_stays_in_the_log(films_service, folders, settings, build_of, caplog):
    settings.RECALL_WORK = folders / "work"
    settings.RECALL_WORK.write_text("a file where a folder should be")
    build = build_of(films_service, "20260101")
    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", "platform.internal", "platform")
    assert str(folders) not in build.error_message
    assert "NotADirectoryError" in caplog.text
