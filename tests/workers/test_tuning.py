"""How an index is measured against exact search, and how much effort it is given."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import layout
from engines import registry
from engines.base import IndexSpec
from tests.factories import make_service
from versions import selectors
from workers.children.tuning import KNOWN_QUERIES, POINTS_BEYOND, QUERIES_MAX, work
from workers.steps.tune_search import params_text

POOR = {"M": 4, "ef_construction": 20}


def measure(
    folder: Path,
    vectors: np.ndarray,
    engine: str = "flat",
    *,
    at: int = 10,
    efforts: list[dict[str, int]] | None = None,
    target: float | None = None,
    rows_found_min: float = 0.0,
    seconds_max: float = 600.0,
    live: dict[str, Any] | None = None,
    **params: int,
) -> dict[str, Any]:
    """What the child says of an index of `vectors`, asked with strangers to them."""
    spec = IndexSpec(metric="ip", dimension=vectors.shape[1], params=params)
    (folder / "index").mkdir()
    registry.builder(engine).build(spec, vectors, folder / "index", lambda _: None)
    np.save(folder / layout.VECTORS, vectors)
    queries = np.random.default_rng(1).normal(size=(400, vectors.shape[1])).astype(np.float32)
    np.save(folder / layout.QUERIES, queries)
    return work(
        {
            "engine": engine,
            "spec": asdict(spec),
            "items_dir": str(folder),
            "vectors": str(folder / layout.VECTORS),
            "rows": len(vectors),
            "index_dir": str(folder / "index"),
            "queries": str(folder / layout.QUERIES),
            "queries_source": "items",
            "queries_note": "",
            "live": live,
            "at": at,
            "efforts": efforts or [{}],
            "recall_target": target,
            "rows_found_min": rows_found_min,
            "seconds_max": seconds_max,
            "out_dir": str(folder),
        }
    )


def some(items: int, dimension: int = 16) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(items, dimension)).astype(np.float32)


def rising(*values: int) -> list[dict[str, int]]:
    return [{"ef": value} for value in values]


def test_exact_search_recalls_everything_and_finds_every_sampled_row(tmp_path):
    measured = measure(tmp_path, some(500), target=0.98)
    assert (measured["recall"], measured["count"], measured["queries"]) == (1.0, 500, QUERIES_MAX)
    assert (measured["chosen"], measured["reached"], measured["complete"]) == (0, True, True)
    assert measured["rows_found"] == measured["rows_sampled"] > 0
    known = np.load(tmp_path / layout.KNOWN_ROWS)
    assert (known.shape, known.dtype, np.load(tmp_path / layout.KNOWN_QUERIES).shape) == (
        (KNOWN_QUERIES, 10),
        np.int64,
        (KNOWN_QUERIES, 16),
    )
    assert len(np.load(tmp_path / layout.SAMPLED_ROWS)) == measured["rows_found"]


def test_the_smallest_effort_that_reaches_the_target_is_chosen_and_the_curve_goes_a_little_beyond(tmp_path):
    measured = measure(tmp_path, some(5000, 32), "hnsw", efforts=rising(10, 20, 40, 80, 160, 320), target=0.6, **POOR)
    curve, chosen = measured["curve"], measured["chosen"]
    recalls = [point["recall"] for point in curve]
    assert 0 < chosen < len(curve) == chosen + 1 + POINTS_BEYOND
    assert recalls[chosen - 1] < 0.6 <= recalls[chosen] == measured["recall"]
    assert recalls == sorted(recalls)
    assert all(point["ms"] > 0 for point in curve)
    assert (measured["reached"], measured["complete"]) == (True, True)


def test_an_effort_that_loses_sampled_rows_is_raised_a_little(tmp_path):
    """With vectors of length 1 every row is its own nearest; the poor graph finds few of them at ef 1."""
    vectors = some(5000, 32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for name in ("low", "high"):
        (tmp_path / name).mkdir()
    efforts = rising(1, 40, 80)
    low = measure(tmp_path / "low", vectors, "hnsw", at=1, efforts=efforts, target=0.01, **POOR)
    high = measure(tmp_path / "high", vectors, "hnsw", at=1, efforts=efforts, target=0.01, rows_found_min=0.9, **POOR)
    assert (low["chosen"], low["rows_sampled"]) == (0, 100)
    assert low["rows_found"] < 90 <= high["rows_found"]
    assert high["chosen"] > 0


def test_a_target_out_of_reach_leaves_the_best_there_is_and_the_whole_curve(tmp_path):
    measured = measure(tmp_path, some(5000, 32), "hnsw", efforts=rising(10, 20, 40), target=1.0, **POOR)
    assert (measured["chosen"], measured["reached"], measured["complete"]) == (2, False, True)
    assert [point["ef"] for point in measured["curve"]] == [10, 20, 40]


def test_when_time_is_up_the_curve_ends_where_it_is(tmp_path):
    measured = measure(tmp_path, some(2000), "hnsw", efforts=rising(10, 20, 40), target=1.0, seconds_max=0.0, **POOR)
    assert (len(measured["curve"]), measured["reached"], measured["complete"]) == (1, False, False)


def test_of_equal_items_any_will_do(tmp_path):
    """Every vector is there twice, and whichever of the two nearest an index finds is right."""
    assert measure(tmp_path, np.repeat(some(400), 2, axis=0), "hnsw", at=1, efforts=rising(200))["recall"] == 1.0


def test_fewer_items_than_neighbours_asked_for_are_all_found(tmp_path):
    measured = measure(tmp_path, some(4), at=100)
    assert measured["recall"] == 1.0
    assert np.load(tmp_path / layout.KNOWN_ROWS).shape == (KNOWN_QUERIES, 10)


def test_what_is_left_to_the_engine_is_not_told_as_an_effort():
    assert params_text({"ef": 100, "nprobe": None}) == "ef 100"
    assert params_text({"nprobe": None}) == ""


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_version_gets_the_effort_that_tuning_chose_and_keeps_the_curve(films, build_of, node):
    engine = {"name": "hnsw", "params": {"M": 4, "ef_construction": 20}}
    service = make_service(films, engine=engine, search={"at": 10, "recall_target": 0.97})
    build = build_of(service, "1", items=4000)
    assert build.state == "SUCCEEDED", build.error_message
    version = selectors.version_get(service, 1)
    tuned = version.report["tune"]
    chosen = version.search_params["ef"]
    assert (tuned["queries_source"], tuned["queries"], tuned["effort"]) == ("items", QUERIES_MAX, "ef")
    assert tuned["search_params"] == {"ef": chosen}
    curve = {point["ef"]: point["recall"] for point in tuned["curve"]}
    assert curve[chosen] == version.recall >= 0.97
    # Or a greater one, when sampled rows are lost with the first.
    assert chosen >= next(effort for effort, recall in curve.items() if recall >= 0.97)
    assert build.steps.get(name="tune_search").detail == f"ef {chosen}: recall {version.recall:.4f}"


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_fixed_parameters_are_measured_and_not_tuned(films, build_of, node):
    engine = {"name": "hnsw", "params": {"M": 4, "ef_construction": 20}}
    service = make_service(films, engine=engine, search={"at": 10, "params": {"ef": 33}}, guards={"min_recall": 0})
    assert build_of(service, "1", items=4000).state == "SUCCEEDED"
    version = selectors.version_get(service, 1)
    assert (version.search_params, version.report["tune"]["tuned"]) == ({"ef": 33}, False)
    [point] = version.report["tune"]["curve"]
    assert (point["ef"], point["recall"]) == (33, version.recall)
    assert [each["name"] for each in version.report["evidence"] if each["name"] == "recall_target"] == []
