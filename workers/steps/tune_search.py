"""Finds the smallest search effort that reaches the recall target, against exact search over the mapped vectors.

The queries are the drop's recorded ones (features as its own model encodes them), else a sample of its items;
`queries_source` says which. What the spec fixes is measured and not tuned. Nothing is held here: check_index judges
what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bundles import layout
from engines import registry
from engines.base import SearchEffort
from engines.description import EngineDescription
from engines.effort import effort_grid
from workers import query_model
from workers.context import BuildContext
from workers.outcomes import Done, Outcome
from workers.steps.build_index import index_spec

# After so long the curve ends where it is; the longest single point of it comes on top.
CURVE_SECONDS_MAX = 300
EFFORTS = tuple(field.name for field in fields(SearchEffort) if field.name != "exact")


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed with the engine's reason."""
    index, imported = ctx.values["index"], ctx.values["import"]
    description = registry.describe(index["engine"])
    params, efforts = _to_try(ctx.spec, description)
    tunes = description.effort is not None and ctx.spec["search"]["params"] is None
    out_dir = ctx.folder("tune")
    queries, queries_source = query_model.queries(ctx.values)
    order = {
        "engine": index["engine"],
        "spec": asdict(index_spec(ctx, index["engine"])),
        "index_dir": index["dir"],
        "vectors": str(Path(imported["dir"]) / layout.VECTORS),
        "rows": imported["searchable_items"],
        "queries": str(queries),
        "at": ctx.spec["search"]["at"],
        "efforts": efforts,
        "recall_target": ctx.spec["search"]["recall_target"] if tunes else None,
        "rows_found_min": ctx.spec["guards"]["min_recall"],
        "seconds_max": CURVE_SECONDS_MAX,
        "out_dir": str(out_dir),
    }
    done = ctx.run_child("workers.children.tuning", order)
    tuned = {
        "queries_source": queries_source,
        "queries": done["queries"],
        "at": order["at"],
        "recall_target": ctx.spec["search"]["recall_target"],
        "tuned": tunes,
        "search_params": {**params, **efforts[done["chosen"]]},
        "recall": done["recall"],
        "reached": done["reached"],
        "complete": done["complete"],
        "effort": description.effort.name if description.effort else "",
        "curve": done["curve"],
        "seconds": done["seconds"],
    }
    return Done(report={"tune": tuned}, context={"tune": {**done, **tuned, "dir": str(out_dir)}}, detail=_detail(tuned))


def _to_try(spec: Mapping[str, Any], description: EngineDescription) -> tuple[dict[str, Any], list[dict[str, int]]]:
    """The search parameters, and the efforts to put into them, rising; just one when there is nothing to tune.

    Of fixed parameters, what the engine does not know is left out.
    """
    model, fixed = description.search_params_model, spec["search"]["params"] or {}
    params: dict[str, Any] = model(**{name: fixed[name] for name in fixed if name in model.model_fields}).model_dump()
    if description.effort is None or spec["search"]["params"] is not None:
        return params, [{name: params[name] for name in EFFORTS if name in params}]
    name = description.effort.name
    grid = effort_grid(description, top_k=spec["search"]["at"], effort_max=spec["limits"].get(f"max_{name}"))
    others = {other: params[other] for other in EFFORTS if other in params and other != name}
    return params, [{**others, name: value} for value in grid]


def _detail(tuned: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in tuned["search_params"].items())
    return f"{said}: recall {tuned['recall']:.4f}" if said else f"recall {tuned['recall']:.4f}, nothing to tune"
