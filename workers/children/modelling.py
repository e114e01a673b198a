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
from numpy.typing import NDArray

from bundles import layout
from bundles.errors import DropError
from bundles.importing import normalized
from bundles.schema import ImportSchema
from encoders import recorded
from encoders.encoder import MODEL_FILE, Encoder
from encoders.errors import ModelRefused
from encoders.onnx_file import check_file
from encoders.spec import Features, ModelSpec
from encoders.trial import Trial, try_out
from engines.leash import own_memory_bytes
from workers.children.program import Order, RowsDone, run

KNOWN_FEATURES = 50
QUERIES_MAX = 10_000
# Of one run, on a core that builds give way on.
RUN_SECONDS_MAX = 10.0
# Of loading and trying in all; the system ends the process then, whatever a library is doing.
SECONDS_MAX = 300

Floats = NDArray[np.float32]


def work(order: Order) -> dict[str, Any]:
    """Raises DropError."""
    signal.alarm(SECONDS_MAX)
    try:
        return _try(order)
    except ModelRefused as error:
        raise DropError(error.reason, error.message) from error


def _try(order: Order) -> dict[str, Any]:
    spec = ModelSpec.of(order["schema"])
    assert spec is not None  # noqa: S101 - who ordered it has looked
    folder, out_dir = Path(order["model_dir"]), Path(order["out_dir"])
    payload = (folder / MODEL_FILE).read_bytes()
    file = check_file(payload, order["name"])
    del payload
    before = own_memory_bytes()
    encoder = Encoder.open(folder, spec, seconds_max=RUN_SECONDS_MAX)
    features_path = folder.parent / layout.FEATURES
    features = recorded.read(features_path, spec) if features_path.is_file() else []
    trial = try_out(encoder, features, ms_max=order["ms_max"], progress=RowsDone())
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
    queries = _searchable(trial.vectors.reshape(-1, spec.dimension), schema)[:QUERIES_MAX]
    if not trial.good or not len(queries):
        return 0
    np.save(out_dir / layout.QUERIES, queries, allow_pickle=False)
    np.save(out_dir / layout.KNOWN_FEATURES, trial.vectors[:KNOWN_FEATURES], allow_pickle=False)
    recorded.write(trial.good, spec, out_dir / layout.FEATURES)
    return len(queries)


def _searchable(vectors: Floats, schema: ImportSchema) -> Floats:
    """As they are searched: of length 1 where the schema says so, and then without those of length 0."""
    if not schema.normalized:
        return vectors
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return normalized(vectors[norms > 0], norms[norms > 0])


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
