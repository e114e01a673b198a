from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
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
    told: list[int] = []
    searcher = build_and_open(name, spec, vectors, index_dir, told.append)
    yield Built(name, spec, index_dir, vectors, queries, searcher, told)
    searcher.close()


@pytest.fixture(scope="module")
def four_rows(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Where an engine has its index of the unit vectors of four dimensions; it is built once, and never changed."""
    made: dict[tuple[str, int], Path] = {}

    def folder(name: str, partitions: int) -> Path:
        if (name, partitions) not in made:
            made[name, partitions] = tmp_path_factory.mktemp(f"{name}-{partitions}-four")
            spec = IndexSpec("ip", 4, partitions=partitions)
            build_and_open(name, spec, np.eye(4, dtype=np.float32), made[name, partitions]).close()
        return made[name, partitions]

    return folder


@pytest.fixture(params=registry.names())
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=PARTITIONS)
def partitions(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number
