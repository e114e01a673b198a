"""Workers compare the files of two versions: with the real child process, real artifacts, and lost messages."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from bundles.artifact import open_artifact
from catalog.models import Service
from tests.factories import make_service
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact
from tests.support.history import made_version
from tests.support.query_models import Tower
from versions import actions
from versions.actions.comparisons import TAKES_MAX
from versions.comparisons import comparison_view
from versions.models import Version, VersionComparison
from versions.selectors import version_get
from workers import doorbell, tasks, version_comparisons
from workers.children import answers, version_comparing

pytestmark = pytest.mark.django_db(transaction=True)

AT = 10


@pytest.fixture
def service(films) -> Service:
    return make_service(films, schema={"dimension": 16, "metric": "ip"}, search={"at": AT})


def version_of(service: Service, made: MadeArtifact, **values: Any) -> Version:
    told = {"items": made.manifest["items"], "searchable_items": made.manifest["searchable_items"]}
    files = {"artifact": str(made.path), "manifest_sha256": made.manifest_sha256}
    return made_version(service, loaded=False, model_version=made.manifest["model_version"], **told, **files, **values)


def two(service: Service, folder: Path, **changes: Any) -> tuple[Version, Version, MadeArtifact, MadeArtifact]:
    """500 items, and 500 of which the first 400 lie as before: one later id in every three is another item."""
    older = make_artifact(folder, items=500, version=1)
    newer = make_artifact(folder, **{"items": 500, "version": 2, "first_id": 1_300, **changes})
    return version_of(service, older), version_of(service, newer), older, newer


def asked(version: Version, other: Version) -> VersionComparison:
    row = actions.comparison_ask(version=version, other=other)
    assert row is not None
    return row


def overlap_by_hand(ours: MadeArtifact, other: MadeArtifact, queries: np.ndarray) -> float:
    pairs = [(exact_ids(ours, query, AT)[0], exact_ids(other, query, AT)[0]) for query in queries]
    return float(np.mean([len(set(one) & set(two)) / AT for one, two in pairs]))


def test_items_and_answers_of_two_versions_are_compared_by_their_files(service, tmp_path, valkey):
    older, newer, made_older, made_newer = two(service, tmp_path)
    row = asked(newer, older)
    tasks.run_comparison(row.pk, colour="blue")

    view = comparison_view(newer, older)
    assert (view["state"], view["final"], view["notes"]) == ("DONE", True, [])
    ids, others = set(made_newer.ids), set(made_older.ids)
    items = view["items"]
    assert (items["added"], items["removed"]) == (len(ids - others), len(others - ids)) == (100, 100)
    assert items["kept"] == len(ids & others) == 400
    assert {int(each) for each in items["samples"]["added"]} <= ids - others
    found = view["answers"]
    assert (found["asked"], found["queries"], found["at"]) == ("vectors", 200, AT)
    assert found["overlap"] == pytest.approx(overlap_by_hand(made_newer, made_older, made_newer.queries))
    scores = [exact_ids(made_newer, query, AT)[1].mean() for query in made_newer.queries]
    assert found["mean_score"] == pytest.approx(np.mean(scores), rel=1e-5)
    assert 0 < found["gone"] < 1 - found["overlap"]


@pytest.mark.servers
def test_versions_of_real_builds_know_their_predecessor_and_are_compared_with_any_other(
    films_service, build_of, node, valkey
):
    for name, first_id in (("1", 1), ("2", 11), ("3", 21)):
        assert build_of(films_service, name, first_id=first_id).state == "SUCCEEDED"
    versions = [version_get(films_service, number) for number in (1, 2, 3)]

    assert actions.comparison_ask(version=versions[1], other=versions[0]) is None
    stored = comparison_view(versions[1], versions[0])
    items, answers = stored["items"], stored["answers"]
    assert (stored["state"], items["measured"], answers["overlap"]) == ("DONE", "by its build", 0.9)
    assert (items["added"], items["removed"], items["kept"]) == (10, 10, 50)
    assert (items["samples"]["removed"][0], items["samples"]["added"][-1]) == ("1", "70")
    assert all(each["value"] > 0 and each["to"] > 0 for each in stored["steps"] if each["name"] == "build_index")

    row = asked(versions[2], versions[0])
    tasks.run_comparison(row.pk)
    computed = comparison_view(versions[2], versions[0])
    assert (computed["state"], computed["error"]) == ("DONE", None)
    assert (computed["items"]["added"], computed["items"]["kept"]) == (20, 40)
    assert (computed["answers"]["asked"], computed["answers"]["queries"]) == ("items", 40)


def test_the_other_way_round_it_is_the_same_told_from_the_other_side(service, tmp_path, valkey):
    older, newer, *_ = two(service, tmp_path, items=600)
    row = asked(older, newer)
    assert asked(newer, older).pk == row.pk, "one row for both ways"
    tasks.run_comparison(row.pk)
    forwards, backwards = comparison_view(newer, older), comparison_view(older, newer)
    assert (forwards["items"]["added"], forwards["items"]["removed"]) == (200, 100)
    assert (backwards["items"]["added"], backwards["items"]["removed"]) == (100, 200)
    assert backwards["items"]["samples"]["removed"] == forwards["items"]["samples"]["added"]
    assert backwards["answers"]["gone"] == forwards["answers"]["new"]
    assert backwards["answers"]["mean_score"] == forwards["answers"]["to_mean_score"]
    assert backwards["answers"]["score_drift_percent"] * forwards["answers"]["score_drift_percent"] < 0


def test_a_new_model_is_asked_by_the_items_that_both_have(service, tmp_path, valkey):
    """The same vectors, turned around: no vector of the one means anything to the other, and neighbours are kept."""
    older = make_artifact(tmp_path, version=1)
    newer = make_artifact(tmp_path, version=2, model_version="mind-8")
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0].astype(np.float32)
    sides = [answers.VersionData(open_artifact(each.path, each.manifest_sha256)) for each in (newer, older)]
    sides[0].artifact.__dict__["_vectors"] = newer.vectors @ turn
    found = answers.compare(*sides, picked=older.ids, top_k=AT, said=lambda *_: None)
    assert (found["asked"], found["queries"]) == ("items", 200)
    assert found["overlap"] > 0.999
    assert (found["gone"], found["new"]) == (0, 0)

    row = asked(version_of(service, newer), version_of(service, older))
    tasks.run_comparison(row.pk)
    row.refresh_from_db()
    assert row.result["answers"]["overlap"] == 1.0


def test_recorded_features_are_encoded_by_the_model_of_each_version(tmp_path):
    recorded = [([n, n + 5], float(n)) for n in range(40)]
    towers = [Tower.of(seed, dimension=16, vectors=2) for seed in (1, 2)]
    same = [make_artifact(tmp_path / "a", version=n, tower=towers[0], recorded=recorded) for n in (1, 2)]
    other = make_artifact(tmp_path / "b", version=3, tower=towers[1], recorded=recorded, model_version="mind-8")
    sides = [
        answers.VersionData(open_artifact(each.path, each.manifest_sha256, with_index=False)) for each in (*same, other)
    ]
    alike = answers.compare(sides[1], sides[0], [], AT, lambda *_: None)
    assert (alike["asked"], alike["queries"], alike["overlap"]) == ("features", 40, 1.0)
    unlike = answers.compare(sides[2], sides[0], [], AT, lambda *_: None)
    assert unlike["asked"] == "features"
    assert unlike["overlap"] < 0.9


@pytest.mark.parametrize("change", [{"metric": "l2"}, {"text_ids": True}, {"metric": "cosine", "hidden": 50}])
def test_whatever_the_metric_and_the_ids(tmp_path, change):
    older, newer = (make_artifact(tmp_path, version=n, first_id=1_000 + 90 * n, **change) for n in (1, 2))
    named = [{"path": str(each.path), "manifest_sha256": each.manifest_sha256} for each in (newer, older)]
    found = version_comparing.work({"version": named[0], "other": named[1], "top_k": AT})
    assert (found["items"]["added"], found["items"]["removed"], found["items"]["kept"]) == (30, 30, 470)
    by_hand = overlap_by_hand(newer, older, newer.queries)
    assert found["answers"]["overlap"] == pytest.approx(by_hand)


def test_ids_of_two_types_have_nothing_in_common_and_no_worker_is_asked(films, service, tmp_path):
    older, newer, *_ = two(service, tmp_path)
    Version.objects.filter(pk=newer.pk).update(
        spec={**newer.spec, "schema": {**newer.spec["schema"], "id_type": "string"}}
    )
    newer.refresh_from_db()
    assert actions.comparison_ask(version=newer, other=older) is None
    view = comparison_view(newer, older)
    assert (view["state"], view["final"], view["items"]) == ("UNAVAILABLE", True, None)
    assert "version 2 has ids of type string, version 1 int64" in view["notes"][0]


def test_files_that_are_gone_or_damaged_are_told_and_tried_again_later(service, tmp_path, valkey):
    older, newer, made_older, _ = two(service, tmp_path)
    vectors = made_older.path / "vectors.npy"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-1] + b"x")
    row = asked(newer, older)
    tasks.run_comparison(row.pk)
    view = comparison_view(newer, older)
    assert (view["state"], view["final"], view["error"]["reason"]) == ("FAILED", True, "artifact.checksum_mismatch")
    assert view["error"]["again_at"] > timezone.now()
    assert asked(newer, older).state == "FAILED", "not before its time"

    vectors.write_bytes(whole)
    VersionComparison.objects.update(ended_at=timezone.now() - timedelta(hours=1))
    assert asked(newer, older).state == "ASKED"
    tasks.run_comparison(row.pk)
    assert comparison_view(newer, older)["state"] == "DONE"

    shutil.rmtree(made_older.path)
    actions.version_files_deleted(version=older)
    older.refresh_from_db()
    assert asked(newer, older).state == "DONE", "what was found stays"
    VersionComparison.objects.all().delete()
    assert actions.comparison_ask(version=newer, other=older) is None
    assert "The files of version 1 were deleted at" in comparison_view(newer, older)["notes"][0]


def test_while_one_is_computed_others_wait_for_the_tick(service, tmp_path, valkey, monkeypatch):
    older, newer, *_ = two(service, tmp_path)
    row = asked(newer, older)
    with doorbell.alone("comparisons", seconds_max=10):
        tasks.run_comparison(row.pk)
    assert asked(newer, older).state == "ASKED"
    rung: list[tuple[Any, ...]] = []
    monkeypatch.setattr(version_comparisons, "ring", lambda *sent: rung.append(sent))
    tasks.sweep_comparisons()
    assert rung == [], "it was only just asked for"
    VersionComparison.objects.update(asked_at=timezone.now() - timedelta(seconds=10))
    tasks.sweep_comparisons()
    tasks.sweep_comparisons()
    assert rung == [("comparison.run", row.pk)]


def test_one_whose_worker_died_is_rung_for_and_given_up_in_the_end(service, tmp_path, valkey, monkeypatch):
    older, newer, *_ = two(service, tmp_path)
    row = asked(newer, older)
    for _ in range(TAKES_MAX):
        assert actions.comparison_take(row.pk) is not None
        assert actions.comparison_take(row.pk) is None, "another worker is at it"
        VersionComparison.objects.update(taken_until=timezone.now() - timedelta(seconds=1))
    rung: list[tuple[Any, ...]] = []
    monkeypatch.setattr(version_comparisons, "ring", lambda *sent: rung.append(sent))
    tasks.sweep_comparisons()
    assert rung == [("comparison.run", row.pk)]
    tasks.run_comparison(row.pk)
    assert comparison_view(newer, older)["error"]["reason"] == "comparison.gave_up"


def test_a_worker_that_was_taken_for_dead_ends_its_child_and_writes_nothing(service, tmp_path, valkey, monkeypatch):
    older, newer, *_ = two(service, tmp_path)
    row = asked(newer, older)
    monkeypatch.setattr(version_comparisons, "RENEW_SECONDS", 0.0)
    renew = actions.comparison_renew

    def taken_over(**values: Any) -> None:
        VersionComparison.objects.update(takes=2)
        renew(**values)

    monkeypatch.setattr(version_comparisons.actions, "comparison_renew", taken_over)
    tasks.run_comparison(row.pk)
    row.refresh_from_db()
    assert (row.state, row.takes, row.result) == ("RUNNING", 2, {})


def test_one_that_takes_too_long_is_ended_and_says_so(service, tmp_path, valkey, monkeypatch):
    older, newer, *_ = two(service, tmp_path)
    monkeypatch.setattr(version_comparisons, "SECONDS_MAX", 0)
    tasks.run_comparison(asked(newer, older).pk)
    assert comparison_view(newer, older)["error"]["reason"] == "comparison.too_slow"
