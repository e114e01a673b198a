"""Live queries that replicas sampled, as a build's child reads them: which ones count, and why the others do not."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import samples as files
from bundles.samples import Samples, Space, Window
from tests.workers.test_tuning import measure, some
from workers.children.live_queries import DIFFERENT_MIN, NONE_YET, QUERIES_MAX, UNNAMED, Found, gather

HOUR = 3_600.0
SPACE = Space(16, "ip", False, "mind-7")


def window(kept: int, *, seen: int = 0, dimension: int = 16, hours_ago: float = 1.0, value: float = 0.0) -> Window:
    vectors = np.random.default_rng(kept).normal(size=(kept, dimension)).astype(np.float32)
    vectors[:, 0] = value
    top_k = np.full(kept, 100, np.int32)
    top_k[0] = 900
    return Window(time.time() - hours_ago * HOUR, seen or kept, vectors, top_k)


def sampled(path: Path, *windows: Window, service: str = "movies", **space: Any) -> Path:
    files.write(path, Samples("films", service, "ab" * 32, replace(SPACE, **space), windows))
    return path


def order(*paths: Path, **space: Any) -> dict[str, Any]:
    wanted = replace(SPACE, **space)
    told = {name: getattr(wanted, name) for name in ("dimension", "metric", "normalized", "model_version")}
    return {"files": [str(path) for path in paths], "tenant": "films", "service": "movies", "space": told}


def nothing(found: Found) -> str:
    """Why there are no live queries."""
    assert (found.vectors, found.top_k) == (None, None)
    return found.note


def test_the_samples_of_all_replicas_are_one_by_what_each_has_seen(tmp_path):
    found = gather(
        order(
            sampled(tmp_path / "r1.npz", window(1_000, seen=30_000, value=1.0)),
            sampled(tmp_path / "r2.npz", window(1_000, seen=10_000, value=2.0, hours_ago=13), window(200, value=3.0)),
        )
    )
    assert found.vectors is not None
    assert found.vectors.shape == (QUERIES_MAX, 16)
    of_first, of_second = ((found.vectors[:, 0] == value).mean() for value in (1.0, 2.0))
    assert (of_first, of_second) == (pytest.approx(0.75, abs=0.06), pytest.approx(0.25, abs=0.06))
    assert found.note == "1,000 of 40,200 live queries of the last 13.0 hours, sampled by replicas: 2."
    assert (found.ignored, found.top_k["median"]) == ([], 100)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"model_version": "mind-6"}, "model_version 'mind-6', not 'mind-7'."),
        ({"model_version": ""}, "model_version '', not 'mind-7'."),
        ({"dimension": 8}, "dimension 8, not 16."),
        ({"metric": "cosine", "normalized": True}, "metric 'cosine', not 'ip'; normalized True, not False."),
    ],
)
def test_queries_of_another_space_are_of_no_use_and_it_is_said_which(tmp_path, theirs, said):
    held = window(500, dimension=theirs.get("dimension", 16))
    note = nothing(gather(order(sampled(tmp_path / "r1.npz", held, **theirs))))
    assert note == f"Live queries were sampled where this version is not at home: {said}"


def test_those_of_this_space_are_taken_from_among_others(tmp_path):
    found = gather(
        order(
            sampled(tmp_path / "r1.npz", window(500, value=1.0), model_version="mind-6"),
            sampled(tmp_path / "r2.npz", window(300, value=2.0)),
        )
    )
    assert found.vectors is not None
    assert (found.vectors[:, 0] == 2.0).all()
    assert found.note.endswith("sampled by replicas: 1.")


def test_two_models_without_a_name_are_not_taken_for_one(tmp_path):
    path = sampled(tmp_path / "r1.npz", window(500), model_version="")
    assert nothing(gather(order(path, model_version=""))) == UNNAMED


def test_queries_of_yesterday_are_forgotten(tmp_path):
    path = sampled(tmp_path / "r1.npz", window(500, hours_ago=24.01))
    assert nothing(gather(order(path))) == NONE_YET
    assert nothing(gather(order())) == NONE_YET
    assert nothing(gather(order(tmp_path / "gone.npz"))) == NONE_YET


def test_a_few_different_queries_are_too_few_however_often_they_are_asked(tmp_path):
    few = window(DIFFERENT_MIN - 1)
    often = replace(few, seen=10**6, vectors=np.tile(few.vectors, (10, 1)), top_k=np.tile(few.top_k, 10))
    note = nothing(gather(order(sampled(tmp_path / "r1.npz", often))))
    assert note == "Only 99 different live queries were sampled in the last 24 hours; 100 are needed."
    assert gather(order(sampled(tmp_path / "r1.npz", window(DIFFERENT_MIN)))).vectors is not None


def test_files_that_cannot_be_used_are_told_of_and_the_others_count(tmp_path):
    broken, foreign = tmp_path / "r1.npz", sampled(tmp_path / "r2.npz", window(500), service="series")
    broken.write_bytes(b"who asked")
    found = gather(order(broken, foreign, sampled(tmp_path / "r3.npz", window(400))))
    assert found.vectors is not None
    assert len(found.vectors) == 400
    assert found.ignored == [
        "r1.npz cannot be read: File is not a zip file",
        "r2.npz is of another service (films/series).",
    ]


def test_the_child_tunes_on_live_queries_and_leaves_them_for_the_artifact(tmp_path):
    path = sampled(tmp_path / "r1.npz", window(400))
    measured = measure(tmp_path, some(500), target=0.98, live=order(path))
    assert (measured["queries_source"], measured["queries"]) == ("live", 200)
    assert measured["asked_top_k"] == {"median": 100, "max": 900}
    assert len(np.load(measured["queries_file"])) == 400


def test_the_child_goes_on_with_items_when_no_live_query_can_be_used(tmp_path):
    path = tmp_path / "r1.npz"
    path.write_bytes(b"PK\x03\x04")
    measured = measure(tmp_path, some(500), target=0.98, live=order(path))
    assert (measured["queries_source"], measured["queries_note"]) == ("items", NONE_YET)
    assert measured["samples_ignored"][0].startswith("r1.npz cannot be read: ")
