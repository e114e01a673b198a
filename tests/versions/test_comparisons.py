"""Two versions side by side, by what is stored of them; and what a switch is told to change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from catalog.models import Service
from common.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.factories import make_service
from tests.support.history import activated, made_version, refreshed
from versions import actions
from versions.actions.comparisons import UNDER_WAY_MAX
from versions.changes import curve, figures, parameters, schema_changes, step_seconds
from versions.comparisons import comparison_view, previous_of, usual_other, versions_compared
from versions.models import Build, Version, VersionComparison
from versions.selectors import version_get, versions_of
from versions.switches import switches_from

ITEMS = {
    "live_version": 1,
    "ids": {"items": 120, "live_items": 100, "shared": 90},
    "samples": {"added": ["7", "9"], "removed": ["1"], "kept": ["2"]},
}
ON_NODE = {"ok": True, "queries": 100, "overlap": 0.9, "mean_score": 1.5, "beside_mean_score": 2.0, "p99_ms": 1.25,
           "beside_p99_ms": 1.0}  # fmt: skip
RESULT = {
    "items": {"added": 5, "removed": 4, "kept": 3, "samples": {"added": ["5"], "removed": [], "kept": []}},
    "answers": {"asked": "items", "queries": 200, "at": 100, "overlap": 0.75, "gone": 0.125, "new": 0.25,
                "mean_score": 2.0, "other_mean_score": 1.0, "notes": []},
}  # fmt: skip


def built_beside(service: Service, report: dict[str, Any] | None = None, **results: Any) -> tuple[Version, Version]:
    """Version 1, and version 2 whose build was compared with it."""
    older = activated(made_version(service, items=100))
    newer = made_version(service, items=120, report={"items": ITEMS, **(report or {})})
    nodes = {"local": ON_NODE, "other": {**ON_NODE, "overlap": 0.8}, "lost": {"ok": False}, **results}
    Build.objects.filter(pk=newer.build_id).update(report={"compare": {"live": 1, "results": nodes}})
    return older, version_get(service, newer.number)


def test_what_the_build_found_beside_its_predecessor_is_used_and_nobody_is_asked(films_service):
    older, newer = built_beside(films_service)
    assert actions.comparison_ask(version=newer, other=older) is None
    view = comparison_view(newer, older)
    assert (view["state"], view["final"], view["notes"]) == ("DONE", True, [])
    assert {name: view["items"][name] for name in ("added", "removed", "kept")} == {
        "added": 30,
        "removed": 10,
        "kept": 90,
    }
    assert view["items"]["samples"]["added"] == ["7", "9"]
    answers = view["answers"]
    assert (answers["overlap"], answers["score_drift_percent"]) == (0.8, -25.0), "of the node that is least alike"
    back = comparison_view(older, newer)
    assert (back["items"]["added"], back["items"]["samples"]["removed"]) == (10, ["7", "9"])
    assert (back["answers"]["p99_ms"], back["answers"]["to_p99_ms"]) == (1.0, 1.25)


def test_what_only_part_is_known_of_is_computed(films_service, django_capture_on_commit_callbacks):
    older, newer = built_beside(films_service)
    Build.objects.filter(pk=newer.build_id).update(report={})
    newer = version_get(films_service, 2)
    with django_capture_on_commit_callbacks() as callbacks:
        row = actions.comparison_ask(version=newer, other=older)
        again = actions.comparison_ask(version=older, other=newer)
    assert row is not None
    assert (row, len(callbacks)) == (again, 1)
    view = comparison_view(newer, older)
    assert (view["state"], view["final"], view["answers"]) == ("ASKED", False, None)
    assert view["items"]["added"] == 30, "what is known is told at once"


def test_a_new_model_s_stored_overlap_counts_for_nothing_by_itself(films_service):
    older, newer = built_beside(films_service)
    Version.objects.filter(pk=newer.pk).update(model_version="mind-8")
    newer.refresh_from_db()
    row = actions.comparison_ask(version=newer, other=older)
    assert row is not None
    done(row)
    assert comparison_view(newer, older)["answers"]["asked"] == "items"
    VersionComparison.objects.all().delete()
    Version.objects.filter(pk=older.pk).update(files_deleted_at=timezone.now())
    older.refresh_from_db()
    view = comparison_view(newer, older)
    assert (view["state"], view["answers"]["overlap"]) == ("UNAVAILABLE", 0.8)
    assert "different models (unnamed -> mind-8)" in view["notes"][1]


def done(row: VersionComparison, result: dict[str, Any] = RESULT) -> None:
    taken = actions.comparison_take(row.pk)
    assert taken is not None
    actions.comparison_done(comparison=taken, result=result)


def test_a_result_stays_when_the_files_go_and_goes_with_a_version(films_service):
    older, newer = made_version(films_service), made_version(films_service)
    row = actions.comparison_ask(version=newer, other=older)
    assert row is not None
    done(row)
    Version.objects.filter(pk=older.pk).update(files_deleted_at=timezone.now())
    older.refresh_from_db()
    assert comparison_view(newer, older)["items"]["added"] == 5
    older.delete()
    assert not VersionComparison.objects.exists()


def test_nothing_to_ask_by_is_told(films_service):
    older, newer = made_version(films_service), made_version(films_service)
    row = actions.comparison_ask(version=newer, other=older)
    assert row is not None
    done(row, {"items": RESULT["items"], "answers": {"asked": "items", "queries": 0, "at": 100, "notes": []}})
    view = comparison_view(newer, older)
    assert view["answers"] is None
    assert "nothing to ask both by" in view["notes"][0]


def test_one_team_cannot_have_a_queue_without_end(films, books, films_service, books_service):
    version = made_version(films_service)
    for _ in range(UNDER_WAY_MAX):
        assert actions.comparison_ask(version=version, other=made_version(films_service, loaded=False)) is not None
    last = made_version(films_service, loaded=False)
    assert actions.comparison_ask(version=version, other=last) is None
    view = comparison_view(version, last)
    assert (view["state"], view["final"]) == ("ASKED", False)
    assert "begins when there is room" in view["notes"][0]
    theirs = [made_version(books_service, loaded=False) for _ in range(2)]
    assert actions.comparison_ask(version=theirs[1], other=theirs[0]) is not None


def test_who_names_one_version_means_live_or_what_was_before_it(films_service):
    first = made_version(films_service)
    with pytest.raises(FailedPrecondition, match="only one"):
        versions_compared(films_service, 1, None)
    first = activated(first)
    second, third = activated(made_version(films_service)), made_version(films_service)
    assert usual_other(version_get(films_service, third.number)) == second
    assert usual_other(version_get(films_service, second.number)) == first
    assert previous_of(version_get(films_service, third.number)) == second
    with pytest.raises(InvalidArgument) as refused:
        versions_compared(films_service, 2, 2)
    assert refused.value.field == "to"
    with pytest.raises(NotFound):
        versions_compared(films_service, 2, 99)


def test_what_changed_is_named_field_by_field(films):
    schema = {"dimension": 4, "metric": "ip", "attributes": [{"name": "genre", "type": "string"}]}
    other = {"dimension": 8, "metric": "ip", "attributes": [{"name": "genre", "type": "list<string>"},
             {"name": "year", "type": "int64"}]}  # fmt: skip
    model = {"vectors": 2, "inputs": [{"name": "age", "type": "float32"}]}
    older = made_version(make_service(films, "one", schema=schema), engine="hnsw", engine_params={"M": 16})
    newer = made_version(make_service(films, "two", schema={**other, "query_model": model}), recall=0.5)
    changed = {each["name"]: (each["value"], each["to"]) for each in schema_changes(newer, older)}
    assert changed == {
        "dimension": (8, 4),
        "attributes.genre": ("list<string>", "string"),
        "attributes.year": ("int64", None),
        "query_model.vectors": (2, None),
        "query_model.age": ("float32, truncate keep_last, unknown fail", None),
    }
    told = {each["name"]: each for each in parameters(newer, older)}
    assert (told["engine"]["value"], told["engine"]["to"], told["engine"]["differs"]) == ("flat", "hnsw", True)
    assert (told["engine.M"]["value"], told["engine.M"]["to"]) == (None, 16)
    assert told["search.at"]["differs"] is False
    assert {each["name"]: each["difference"] for each in figures(newer, older)}["recall"] == -0.5


def test_a_curve_and_the_steps_are_those_of_each_build(films_service):
    points = [{"ef": 10, "recall": 0.9, "ms": 0.1}, {"ef": 20, "recall": 0.99, "ms": 0.2}]
    tune = {"effort": "ef", "at": 100, "search_params": {"ef": 20}, "curve": points}
    version, bare = made_version(films_service, report={"tune": tune}), made_version(films_service)
    found = curve(version)
    assert found is not None
    assert [each["chosen"] for each in found["points"]] == [False, True]
    assert curve(bare) is None
    began = timezone.now()
    version.build.steps.filter(name="build_index").update(started_at=began, ended_at=began + timedelta(seconds=2.5))
    assert {each["name"]: (each["value"], each["to"]) for each in step_seconds(version, bare)} == {
        "build_index": (2.5, None)
    }
    Build.objects.filter(pk=version.build_id).update(version_number=99)
    assert step_seconds(version_get(films_service, version.number), bare) == []


def test_a_switch_tells_what_changes_by_what_is_stored(films_service):
    older, newer = built_beside(films_service)
    live = version_get(films_service, 1)
    [switch] = switches_from(live, [newer]).values()
    assert (switch["from"]["number"], switch["to"]["number"], switch["difference"]) == (1, 2, 20)
    assert (switch["items"]["added"], switch["items"]["removed"]) == (30, 10)
    assert (switch["schema"], switch["is_other_model"]) == ([], False)
    assert not VersionComparison.objects.exists(), "nothing is asked for"

    live = version_get(refreshed(films_service), activated(newer).number)
    back = switches_from(live, [version_get(films_service, older.number)])[1]
    assert (back["difference"], back["items"]["added"], back["items"]["removed"]) == (-20, 10, 30)
    first = switches_from(None, [older])[1]
    assert (first["from"], first["items"], first["difference"]) == (None, None, None)


def test_a_switch_to_any_other_version_tells_what_a_worker_found(films_service, django_assert_num_queries):
    live = activated(made_version(films_service))
    others = [made_version(films_service) for _ in range(4)]
    row = actions.comparison_ask(version=others[2], other=live)
    assert row is not None
    done(row)
    listed = list(versions_of(refreshed(films_service)))
    with django_assert_num_queries(5):  # However many versions: what a worker found, who is loaded, and how they are.
        found = switches_from(listed[-1], listed[:-1])
    assert found[others[2].number]["items"]["added"] == 5
    assert found[others[3].number]["items"] is None
