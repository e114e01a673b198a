"""The query model of a build: tried in a child of its own, before anything is admitted or built for it.

A service without one has nothing to try. What the trial found goes with the version: how many queries may share a run,
what it takes in memory, and the recorded queries as this very model encodes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from bundles import layout
from querymodel.spec import ModelSpec
from workers.context import BuildContext
from workers.outcomes import StepFailed

CONTEXT = "model"
# What people are told of a trial.
TOLD = (
    "ms", "batch_max", "nodes", "opset", "producer", "bytes", "memory_bytes", "queries", "queries_source", "seconds",
)  # fmt: skip
# The child says nothing when the model ends its process.
SILENT = "engine.crashed"


def tried(ctx: BuildContext) -> dict[str, Any] | None:
    """What the trial of the drop's model found, None when the service has no query model.

    Raises StepFailed with the model's fault: drop.model_*.
    """
    spec = ModelSpec.of(ctx.spec["schema"])
    return None if spec is None else _tried_before(ctx) or _try(ctx)


def found(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an earlier step's trial left in a build's context; empty when there is no query model."""
    model: Mapping[str, Any] = values.get(CONTEXT) or {}
    return model


def is_here(values: Mapping[str, Any]) -> bool:
    """Whether the files of the trial are still there, if there was one."""
    model = found(values)
    return not model or Path(model["dir"]).is_dir()


def queries(values: Mapping[str, Any]) -> tuple[Path, str]:
    """The query vectors that the drop gives, and where they come from: recorded features go before all else."""
    model = found(values)
    if model.get("queries"):
        return Path(model["dir"]) / layout.QUERIES, str(model["queries_source"])
    imported = values["import"]
    return Path(imported["dir"]) / layout.QUERIES, str(imported["queries_source"])


def report(model: Mapping[str, Any]) -> dict[str, Any]:
    """For people."""
    return {CONTEXT: {name: model[name] for name in TOLD}}


def served(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a replica reads of it in the artifact's manifest."""
    model = found(values)
    return {"query_model": {name: model[name] for name in ("batch_max", "ms")}} if model else {}


def _tried_before(ctx: BuildContext) -> dict[str, Any] | None:
    model = dict(found(ctx.values))
    same = model.get("fingerprint") == ctx.build.drop_fingerprint
    return model if same and is_here(ctx.values) else None


def _try(ctx: BuildContext) -> dict[str, Any]:
    imported, out_dir = Path(ctx.values["import"]["dir"]), ctx.folder("model")
    order = {
        "schema": ctx.spec["schema"],
        "model_dir": str(imported / layout.MODEL_FOLDER),
        "name": "The query model",
        "ms_max": settings.QUERY_MODEL_MS_MAX,
        "out_dir": str(out_dir),
    }
    try:
        done = ctx.run_child("workers.children.modelling", order)
    except StepFailed as error:
        if error.reason != SILENT:
            raise
        message = f"The query model ended the process that tried it, and no other. {error.message}"
        raise StepFailed("drop.model_crashed", message, owner="user") from error
    return {**done, "dir": str(out_dir), "fingerprint": ctx.build.drop_fingerprint}
