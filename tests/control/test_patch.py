"""A part of a spec laid over the whole of it."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.patch import changes_between, merged_spec
from catalog.spec import parse_spec
from common.errors import InvalidArgument
from tests.factories import make_spec

TUNED = {"recall_target": 0.98, "at": 100, "params": None}
FIXED = {"recall_target": None, "at": 100, "params": {"ef": 50}}


def stored(**blocks: Any) -> dict[str, Any]:
    return {"name": "movies", **parse_spec(make_spec(engine="hnsw", **blocks)).stored()}


def test_it_merges_objects_and_replaces_lists():
    spec = stored(schema={"dimension": 4, "attributes": [{"name": "year", "type": "int64"}]})
    merged = merged_spec(spec, {"schema": {"attributes": []}, "source": {"columns": {"id": "item"}}})
    assert merged["schema"]["attributes"] == []
    assert merged["schema"]["dimension"] == 4
    assert merged["source"]["columns"] == {"id": "item", "vector": "vector"}


def test_null_is_a_value():
    assert merged_spec(stored(), {"guards": {"max_drop_percent": None}})["guards"]["max_drop_percent"] is None


@pytest.mark.parametrize("engine", ["flat", {"name": "flat"}])
def test_another_engine_starts_from_its_own_parameters(engine):
    merged = merged_spec(stored(), {"engine": engine})
    assert parse_spec(merged).engine.params == {}


@pytest.mark.parametrize("engine", [{"params": {"M": 8}}, {"name": "hnsw", "params": {"M": 8}}])
def test_the_same_engine_keeps_its_other_parameters(engine):
    merged = merged_spec(stored(), {"engine": engine})
    assert parse_spec(merged).engine.params == {**stored()["engine"]["params"], "M": 8}


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        (TUNED, {"params": {"ef": 50}}, FIXED),
        (FIXED, {"recall_target": 0.98}, TUNED),
        (FIXED, {"params": {"ef": 70}}, {**FIXED, "params": {"ef": 70}}),
        (TUNED, {"recall_target": 0.99}, {**TUNED, "recall_target": 0.99}),
        (FIXED, {"at": 10}, {**FIXED, "at": 10}),
        (TUNED, {"at": 10}, {**TUNED, "at": 10}),
    ],
)
def test_of_target_and_fixed_effort_the_given_one_ousts_the_other(before, given, after):
    merged = merged_spec(stored(search=before), {"search": given})
    assert parse_spec(merged).stored()["search"] == after


def test_going_to_another_engine_and_back_takes_the_effort_along_and_nothing_that_was_left_empty(monkeypatch):
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue=http://127.0.0.1:19530")
    there = parse_spec(merged_spec(stored(search=FIXED), {"engine": "milvus"})).stored()
    assert there["search"]["params"] == {"ef": 50, "nprobe": None}
    back = parse_spec(merged_spec({"name": "movies", **there}, {"engine": "hnsw"})).stored()
    assert back["search"]["params"] == {"ef": 50}


def test_another_engine_refuses_an_effort_that_was_set_and_that_it_does_not_know():
    with pytest.raises(InvalidArgument, match=r"search\.params\.ef"):
        parse_spec(merged_spec(stored(search=FIXED), {"engine": "flat"}))


def test_an_empty_patch_changes_nothing():
    assert merged_spec(stored(), {}) == stored()


def test_it_does_not_change_what_it_is_given():
    spec = stored()
    merged_spec(spec, {"schema": {"dimension": 9}, "search": {"params": {"ef": 3}}, "engine": {"params": {"M": 4}}})
    assert spec == stored()


def test_it_tells_the_fields_that_differ():
    before, after = stored(), merged_spec(stored(), {"limits": {"qps": 5}, "guards": {"max_items": 9}})
    without_names = ({k: v for k, v in spec.items() if k != "name"} for spec in (before, after))
    assert changes_between(*without_names) == (
        {"guards.max_items": None, "limits.qps": 1_000},
        {"guards.max_items": 9, "limits.qps": 5},
    )
