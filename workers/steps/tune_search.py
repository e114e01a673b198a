"""Finds the smallest search effort that reaches the recall target, against exact search over the mapped vectors.

The queries are the drop's recorded ones (features as its own model encodes them), else live ones that replicas of the
service sampled, else a sample of its items; `queries_source` says which, and `queries_note` why. What the spec fixes is
measured and not tuned. Nothing is held here: check_index judges what was found.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from django.conf import settings

from bundles import layout
from bundles.queries import QueriesSource
from engines import registry
from engines.base import SearchEffort
from engines.description import EngineDescription
from engines.effort import effort_grid
from workers import query_model, samples
from workers.context import BuildContext
from workers.outcomes import Done, Outcome
from workers.steps.build_index import index_spec

log = logging.getLogger(__name__)

# After so long the curve ends where it is; the longest single point of it comes on top.
CURVE_SECONDS_MAX = 300
# What people read of `queries_source`.
ASKED: Mapping[QueriesSource, str] = {
    "recorded": "recorded queries",
    "item_ids": "recorded lists of items",
    "features": "queries by recorded features",
    "live": "sampled live queries",
    "items": "of the drop's own items",
}
EFFORTS = tuple(field.name for field in fields(SearchEffort) if field.name != "exact")


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed with the engine's reason."""
    index, imported = ctx.values["index"], ctx.values["import"]
    description = registry.describe(index["engine"])
    params, efforts = _to_try(ctx.spec, description)
    tunes = description.effort is not None and ctx.spec["search"]["params"] is None
    out_dir = ctx.folder("tune")
    queries, queries_source = query_model.queries(ctx.values)
    asks_items = queries_source == "items"
    order = {
        "engine": index["engine"],
        "spec": asdict(index_spec(ctx, index["engine"])),
        "index_dir": index["dir"],
        "items_dir": imported["dir"],
        "vectors": str(Path(imported["dir"]) / layout.VECTORS),
        "rows": imported["searchable_items"],
        "queries": str(queries),
        "queries_source": queries_source,
        "queries_note": samples.SWITCHED_OFF if asks_items and not settings.QUERY_SAMPLES else "",
        "live": samples.order(ctx) if asks_items and settings.QUERY_SAMPLES else None,
        "at": ctx.spec["search"]["at"],
        "efforts": efforts,
        "recall_target": ctx.spec["search"]["recall_target"] if tunes else None,
        "rows_found_min": ctx.spec["guards"]["min_recall"],
        "seconds_max": CURVE_SECONDS_MAX,
        "out_dir": str(out_dir),
    }
    done = ctx.run_child("workers.children.tuning", order)
    for point in done["curve"]:
        ctx.say(_point(point))
    for said in done["samples_ignored"]:
        log.warning("Build %s: sampled queries are left out: %s", ctx.build.pk, said)
    if "note" in done["projection"]:
        log.warning("Build %s: %s", ctx.build.pk, done["projection"]["note"])
    tuned = {
        **{name: done[name] for name in ("queries_source", "queries_note", "samples_ignored", "asked_top_k")},
        "asked": ASKED[done["queries_source"]],
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
    report = {"tune": tuned, "projection": done["projection"]}
    return Done(report=report, context={"tune": {**done, **tuned, "dir": str(out_dir)}}, detail=_detail(tuned))


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


def _point(point: Mapping[str, Any]) -> str:
    """`ef 80: recall 0.9671, 0.213 ms`"""
    effort = params_text({name: point[name] for name in EFFORTS if name in point})
    return f"{effort or 'Without an effort'}: recall {point['recall']:.4f}, {point['ms']:.3f} ms"


def _detail(tuned: Mapping[str, Any]) -> str:
    said = params_text(tuned["search_params"])
    return f"{said}: recall {tuned['recall']:.4f}" if said else f"recall {tuned['recall']:.4f}, nothing to tune"


def params_text(params: Mapping[str, Any]) -> str:
    """`ef 80`: without what is left to the engine."""
    return ", ".join(f"{name} {value}" for name, value in params.items() if value is not None)
