"""How far a search among some rows reaches, by what the engine says of itself."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from engines import registry
from engines.base import Float32, Int64, SearchEffort
from engines.errors import DeadlineOver
from engines.exact import ExactScan
from engines.rowset import RowSet
from replicas.subsets import SubsetSearch

ROWS, DIMENSION, TOP_K = 20_000, 8, 50
# Looking around for fifty among one row in twenty takes more.
HITS_MAX = 1_000
VECTORS = np.random.default_rng(1).standard_normal((ROWS, DIMENSION), dtype=np.float32)
QUERIES = np.random.default_rng(2).standard_normal((3, DIMENSION), dtype=np.float32)
ALLOWED = RowSet.of_mask(np.arange(ROWS) % 20 == 0)


class Recorder:
    """A searcher without filters, always right, that notes how many hits it was asked for."""

    count, dimension = ROWS, DIMENSION

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._scan = ExactScan(VECTORS, "ip")

    def search(
        self, queries: Float32, top_k: int, effort: SearchEffort, allowed: RowSet | None = None
    ) -> tuple[Int64, Float32]:
        assert allowed is None
        self.asked.append(top_k)
        return self._scan.search(queries, top_k)

    def close(self) -> None: ...


@pytest.fixture
def cheap_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look around is cheaper than a scan of the allowed rows wherever it is possible."""
    monkeypatch.setattr("replicas.subsets.EXACT_ROWS_PER_CANDIDATE", 0)


@pytest.mark.usefixtures("cheap_candidates")
@pytest.mark.parametrize(("hits_max", "looks"), [(None, [1_800]), (1_800, [1_800]), (HITS_MAX, [])])
def test_what_would_reach_beyond_the_hits_of_an_engine_is_looked_for_among_the_allowed_rows(
    hits_max: int | None, looks: list[int]
) -> None:
    description = replace(registry.describe("milvus"), hits_max=hits_max)
    searcher = Recorder()
    found, _ = SubsetSearch(searcher, VECTORS, "ip", description).search(QUERIES, TOP_K, SearchEffort(), ALLOWED)
    assert searcher.asked == looks
    assert found.tolist() == ExactScan(VECTORS, "ip").search(QUERIES, TOP_K, ALLOWED)[0].tolist()


def test_an_engine_that_gives_some_hits_only_says_so() -> None:
    assert {name: registry.describe(name).hits_max for name in registry.names()} == {
        "faiss": None,
        "flat": None,
        "hnsw": None,
        "milvus": 16_384,
    }


def test_a_scan_of_the_allowed_rows_that_nobody_waits_for_is_not_made() -> None:
    subset = SubsetSearch(Recorder(), VECTORS, "ip", replace(registry.describe("milvus"), hits_max=HITS_MAX))
    with pytest.raises(DeadlineOver):
        subset.search(QUERIES, TOP_K, SearchEffort(until=time.monotonic()), ALLOWED)
