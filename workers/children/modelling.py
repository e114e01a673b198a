"""`python -m workers.children.modelling ORDER.json`: a drop's query model is tried, and its recorded queries computed.

The file is a stranger's program: it is judged by its bytes, then loaded and run here, where it can do no more than end
this process. Result: {"ms", "batch_max", "nodes", "opset", "producer", "bytes", "memory_bytes", "warnings", "queries",
"queries_source"}. Writes, when the drop recorded features, queries.npy [q x m, d] as they are searched, features.arrow
and known_features.npy [k, m, d]: what a replica's own model must give for the first k of them.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bundles import layout
from bundles.errors import DropError
from bundles.query_vectors import as_searched
from bundles.schema import ImportSchema
from engines.leash import own_memory_bytes
from querymodel import recorded
from querymodel.errors import ModelRefused
from querymodel.files import MODEL_FILE
from querymodel.model import QueryModel
from querymodel.onnx_file import check_file
from querymodel.spec import ModelSpec
from querymodel.trial import Trial, try_out
from workers.children.program import Order, RowsDone, run

KNOWN_FEATURES = 50
QUERIES_MAX = 10_000
# Of one run, on a core that builds give way on.
RUN_SECONDS_MAX = 10.0
# Of loading and trying in all; the system ends the process then, whatever a library is doing.
SECONDS_MAX = 300


def work(order: Order) -> dict[str, Any]:
    """Raises DropError."""
    signal.alarm(SECONDS_MAX)
    try:
        return _try(order)
    except ModelRefused as error:
        raise DropError(error.reason, error.message) from error
    finally:
        signal.alarm(0)


def _try(order: Order) -> dict[str, Any]:
    spec = ModelSpec.of(order["schema"])
    assert spec is not None  # noqa: S101 - who ordered it has looked
    folder, out_dir = Path(order["model_dir"]), Path(order["out_dir"])
    payload = (folder / MODEL_FILE).read_bytes()
    file = check_file(payload, order["name"])
    del payload
    before = own_memory_bytes()
    model = QueryModel.open(folder, spec, seconds_max=RUN_SECONDS_MAX)
    features_path = folder.parent / layout.FEATURES
    features = recorded.read(features_path) if features_path.is_file() else []
    trial = try_out(model, features, ms_max=order["ms_max"], progress=RowsDone())
    memory_bytes = max(0, own_memory_bytes() - before)
    queries = _write_queries(trial, spec, ImportSchema.from_spec(order["schema"]), out_dir)
    return {
        "ms": trial.ms,
        "batch_max": trial.batch_max,
        **{name: getattr(file, name) for name in ("nodes", "opset", "producer")},
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "memory_bytes": memory_bytes,
        "warnings": list(trial.warnings),
        "queries": queries,
        "queries_source": "features" if queries else "",
    }


def _write_queries(trial: Trial, spec: ModelSpec, schema: ImportSchema, out_dir: Path) -> int:
    """How many query vectors there are to tune with; 0 when no features were recorded."""
    searched = as_searched(trial.vectors.reshape(-1, spec.dimension), normalized=schema.normalized)
    # A replica refuses such a query, which therefore teaches nothing here.
    can_be_asked = np.ones(len(trial.vectors), np.bool_)
    can_be_asked[[row // spec.vectors for row in searched.refused]] = False
    good = [trial.good[place] for place in np.flatnonzero(can_be_asked)] if trial.good else []
    if not good:
        return 0
    vectors = trial.vectors[can_be_asked]
    queries = searched.matrix[np.repeat(can_be_asked, spec.vectors)]
    np.save(out_dir / layout.QUERIES, queries[:QUERIES_MAX], allow_pickle=False)
    np.save(out_dir / layout.KNOWN_FEATURES, vectors[:KNOWN_FEATURES], allow_pickle=False)
    recorded.write(good, spec, out_dir / layout.FEATURES)
    return len(queries[:QUERIES_MAX])


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
