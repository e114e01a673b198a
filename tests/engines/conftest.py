from __future__ import annotations

from collections.abc import Iterator

import pytest

from engines import registry
from engines.base import IndexSpec
from tests.engines.data import DIMENSION, Built, build_and_open, items_and_queries

PARTITIONS = (1, 3)
CASES = [
    (name, metric, partitions)
    for name in registry.names()
    for metric in registry.describe(name).metrics
    for partitions in PARTITIONS
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Each engine with each of its metrics, in one partition and in several, over the same data."""
    name, metric, partitions = request.param
    vectors, queries = items_and_queries(metric)
    spec = IndexSpec(metric, DIMENSION, partitions=partitions, threads=2)
    index_dir = tmp_path_factory.mktemp(f"{name}-{metric}-{partitions}")
    searcher = build_and_open(name, spec, vectors, index_dir)
    yield Built(name, spec, index_dir, vectors, queries, searcher)
    searcher.close()


@pytest.fixture(params=registry.names())
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=PARTITIONS)
def partitions(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number
