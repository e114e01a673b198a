"""One platform for all end-to-end tests of a session; each test makes services of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.platform import Platform


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with tempfile.TemporaryDirectory(prefix="recall-e2e-") as folder:
        platform = Platform(Path(folder))
        platform.up()
        try:
            platform.as_owner("films")
            yield platform
        finally:
            platform.down()
            if keep := os.environ.get("RECALL_TEST_KEEP_LOGS"):
                (platform.home / "logs").rename(Path(keep))


def hnsw_service(name: str, *, dimension: int = 64, **limits: Any) -> dict[str, Any]:
    """The spec of a service on the graph engine: quick to build, and not held because the machine is busy."""
    return {
        "name": name,
        "schema": {"id_type": "int64", "dimension": dimension, "metric": "ip"},
        "source": {"uri": f"file:{name}/", "notice": "manual"},
        "engine": {"name": "hnsw", "params": {"M": 8, "ef_construction": 40}},
        "search": {"params": {"ef": 300}},
        # Ids tell which version an answer is of, so that versions have none in common.
        "guards": {"min_recall": 0.85, "p99_floor_ms": 100, "min_id_overlap_percent": None},
        "limits": {"qps": 5000, "concurrency": 256, **limits},
    }
