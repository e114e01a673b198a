"""Measures the index against exact search and writes down what it answers; below the guard the build is held."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bundles import layout
from engines import registry
from workers import guards
from workers.context import BuildContext
from workers.outcomes import Done, Outcome, StepFailed
from workers.steps.build_index import index_spec

EFFORTS = ("ef", "nprobe")


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: engine.count_mismatch, or the engine's reason."""
    measured = _measure(ctx)
    rows = ctx.values["import"]["searchable_items"]
    if measured["count"] != rows:
        message = f"{rows} rows went into the index and {measured['count']} are in it."
        raise StepFailed("engine.count_mismatch", message)
    report, context = {"check": _told(measured)}, {"check": measured}
    if not ctx.overridden:
        found = measured["rows_found"] / measured["rows_sampled"] if measured["rows_sampled"] else 1.0
        breaches = guards.recall_breaches(ctx.spec["guards"], recall=measured["recall"], rows_found=found)
        held = guards.hold(breaches, report=report, context=context)
        if held is not None:
            return held
    return Done(
        report={**report, **_warning(ctx, measured)}, context=context, detail=f"recall {measured['recall']:.4f}"
    )


def _measure(ctx: BuildContext) -> dict[str, Any]:
    index, imported = ctx.values["index"], ctx.values["import"]
    search_params = _search_params(ctx, index["engine"])
    out_dir = ctx.folder("check")
    at = ctx.spec["search"]["at"]
    order = {
        "engine": index["engine"],
        "spec": asdict(index_spec(ctx, index["engine"])),
        "index_dir": index["dir"],
        "vectors": str(Path(imported["dir"]) / layout.VECTORS),
        "rows": imported["searchable_items"],
        "queries": str(Path(imported["dir"]) / layout.QUERIES),
        "at": at,
        "effort": {name: search_params[name] for name in EFFORTS if name in search_params},
        "out_dir": str(out_dir),
    }
    done = ctx.run_child("workers.children.checking", order)
    return {**done, "dir": str(out_dir), "search_params": search_params, "at": at}


def _search_params(ctx: BuildContext, engine: str) -> dict[str, Any]:
    """As the spec fixes them, else the engine's own; what the engine does not know is left out."""
    model = registry.describe(engine).search_params_model
    fixed = ctx.spec["search"]["params"] or {}
    params: dict[str, Any] = model(**{name: fixed[name] for name in fixed if name in model.model_fields}).model_dump()
    return params


def _told(measured: dict[str, Any]) -> dict[str, Any]:
    names = ("recall", "at", "queries", "rows_found", "rows_sampled", "search_ms", "search_params", "seconds")
    return {name: measured[name] for name in names}


def _warning(ctx: BuildContext, measured: dict[str, Any]) -> dict[str, Any]:
    target = ctx.spec["search"]["recall_target"]
    if target is None or measured["recall"] >= target:
        return {}
    text = f"Recall at {measured['at']} is {measured['recall']:.4f}, below the target of {target}."
    return {"warnings": [*ctx.build.report.get("warnings", []), text]}
