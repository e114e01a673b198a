"""What an engine says that its items take is what they take: builds are admitted by it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.data import clustered
from engines import registry
from engines.description import Metric

pytestmark = pytest.mark.servers

# So many that even the few take more than what loading a library takes for a moment, which the peak would else be.
FEW, MANY = 60_000, 160_000
# Through a server, which takes far longer, while the process that builds should hold the same whatever their number.
FEW_SENT, MANY_SENT = 20_000, 50_000
# Of what is predicted: the system hands out memory in pages and arenas.
TOLERANCE = 0.2
NOISE_BYTES = 6 * 2**20
# Where an index says how many rows it has.
HEAD_BYTES = 100
QUICK: dict[str, int] = {"ef_construction": 8}


@pytest.mark.parametrize(("dimension", "metric"), [(64, "ip"), (16, "l2")])
def test_the_formula_of_an_engine_says_what_a_build_takes(
    engine: str, dimension: int, metric: Metric, tmp_path: Path
) -> None:
    model = registry.describe(engine).params_model
    params = model(**{name: value for name, value in QUICK.items() if name in model.model_fields}).model_dump()
    each = registry.describe(engine).item_bytes(dimension, metric, params)
    sizes = (FEW_SENT, MANY_SENT) if registry.describe(engine).remote else (FEW, MANY)
    few, many = (_built(tmp_path / str(rows), engine, rows, dimension, metric, params) for rows in sizes)
    rows = sizes[1] - sizes[0]
    assert many["files"] - few["files"] == pytest.approx(each.stored * rows, rel=TOLERANCE, abs=HEAD_BYTES)
    # The build reads the mapped vectors, too, which the peak counts and the formula does not.
    held = many["peak_rss_bytes"] - few["peak_rss_bytes"] - 4 * dimension * rows
    assert held <= each.building * rows * (1 + TOLERANCE) + NOISE_BYTES
    assert held >= each.building * rows * (1 - TOLERANCE) - NOISE_BYTES


def test_parameters_and_dimension_count(engine: str) -> None:
    describe = registry.describe(engine)
    params = describe.params_model().model_dump()
    small, large = (describe.item_bytes(dimension, "ip", params) for dimension in (8, 80))
    assert large.serving - small.serving >= 4 * 72
    assert large.serving >= large.stored
    # A build may lock items one by one.
    assert large.building <= 1.05 * large.serving


def _built(folder: Path, engine: str, rows: int, dimension: int, metric: str, params: dict[str, Any]) -> dict[str, int]:
    folder.mkdir()
    np.save(folder / "vectors.npy", clustered(rows, dimension, seed=1)[0])
    order = {
        "engine": engine,
        "spec": {"metric": metric, "dimension": dimension, "threads": 1, "params": params},
        "vectors": str(folder / "vectors.npy"),
        "rows": rows,
        "out_dir": str(folder / "index"),
    }
    (folder / "order.json").write_text(json.dumps(order))
    command = [sys.executable, "-m", "engines.build", str(folder / "order.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    done = json.loads(ended.stdout.splitlines()[-1])
    files = sum(path.stat().st_size for path in (folder / "index").iterdir())
    return {"files": files, "peak_rss_bytes": done["peak_rss_bytes"]}
