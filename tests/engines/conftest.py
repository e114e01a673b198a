from __future__ import annotations

from collections.abc import Iterator

import pytest

from engines import registry
from engines.base import IndexSpec
from tests.engines.data import DIMENSION, Built, build_and_open, items_and_queries

CASES = [(name, metric) for name in registry.names() for metric in registry.describe(name).metrics]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Each engine with each of its metrics, over the same data."""
    name, metric = request.param
    vectors, queries = items_and_queries(metric)
    spec = IndexSpec(metric, DIMENSION, threads=2)
    index_dir = tmp_path_factory.mktemp(f"{name}-{metric}")
    searcher = build_and_open(name, spec, vectors, index_dir)
    yield Built(name, spec, index_dir, vectors, queries, searcher)
    searcher.close()


@pytest.fixture(params=registry.names())
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
