"""How an index is measured against exact search."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bundles import layout
from engines import registry
from engines.base import IndexSpec
from workers.children.checking import KNOWN_QUERIES, QUERIES_MAX, work


def measure(folder: Path, vectors: np.ndarray, engine: str = "flat", *, at: int = 10, **effort: int) -> dict[str, Any]:
    """What the check says of an index of `vectors`, asked with some of them."""
    spec = IndexSpec(metric="ip", dimension=vectors.shape[1])
    (folder / "index").mkdir()
    registry.builder(engine).build(spec, vectors, folder / "index", lambda _: None)
    np.save(folder / layout.VECTORS, vectors)
    queries = np.random.default_rng(1).normal(size=(400, vectors.shape[1])).astype(np.float32)
    np.save(folder / layout.QUERIES, queries)
    return work(
        {
            "engine": engine,
            "spec": asdict(spec),
            "vectors": str(folder / layout.VECTORS),
            "rows": len(vectors),
            "index_dir": str(folder / "index"),
            "queries": str(folder / layout.QUERIES),
            "at": at,
            "effort": effort,
            "out_dir": str(folder),
        }
    )


def some(items: int, dimension: int = 16) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(items, dimension)).astype(np.float32)


def test_exact_search_recalls_everything_and_finds_every_sampled_row(tmp_path):
    measured = measure(tmp_path, some(500))
    assert (measured["recall"], measured["count"], measured["queries"]) == (1.0, 500, QUERIES_MAX)
    assert measured["rows_found"] == measured["rows_sampled"] > 0
    known = np.load(tmp_path / layout.KNOWN_ROWS)
    assert (known.shape, known.dtype, np.load(tmp_path / layout.KNOWN_QUERIES).shape) == (
        (KNOWN_QUERIES, 10),
        np.int64,
        (KNOWN_QUERIES, 16),
    )


def test_less_effort_recalls_less(tmp_path):
    vectors = some(5000, 32)
    for name in ("low", "high"):
        (tmp_path / name).mkdir()
    low = measure(tmp_path / "low", vectors, "hnsw", ef=10)
    high = measure(tmp_path / "high", vectors, "hnsw", ef=200)
    assert 0.1 < low["recall"] < high["recall"] <= 1.0


def test_of_equal_items_any_will_do(tmp_path):
    """Every vector is there twice, and whichever of the two nearest an index finds is right."""
    assert measure(tmp_path, np.repeat(some(400), 2, axis=0), "hnsw", at=1, ef=200)["recall"] == 1.0


def test_fewer_items_than_neighbours_asked_for_are_all_found(tmp_path):
    measured = measure(tmp_path, some(4), at=100)
    assert measured["recall"] == 1.0
    assert np.load(tmp_path / layout.KNOWN_ROWS).shape == (KNOWN_QUERIES, 10)
