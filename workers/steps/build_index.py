"""Builds the index in a child process, capped and niced, so that it can neither slow nor kill what serves beside it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from django.conf import settings

from bundles import layout
from engines import registry
from engines.base import IndexSpec
from versions import actions
from versions.estimates import chosen_engine, engine_params
from workers import beside
from workers.context import BuildContext
from workers.outcomes import Done, Outcome


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed with the engine's reason."""
    actions.version_reserve(ctx.claim)
    imported = ctx.values["import"]
    rows = imported["searchable_items"]
    engine, why = chosen_engine(ctx.spec, rows)
    out_dir = ctx.folder("index")
    there = beside.look(ctx.service)
    spec = replace(index_spec(ctx, engine), beside=there.indexes, together=there.together, own=there.own)
    order = {
        "engine": engine,
        "spec": asdict(spec),
        "vectors": str(Path(imported["dir"]) / layout.VECTORS),
        "rows": rows,
        "out_dir": str(out_dir),
    }
    params = ", ".join(f"{name} {value}" for name, value in order["spec"]["params"].items())
    ctx.say(f"{rows:,} rows go into {engine} ({why or 'as the spec says'}){': ' if params else ''}{params}.")
    done = ctx.run_child("engines.build", order)
    made = {
        "engine": engine,
        "reason": why,
        "params": order["spec"]["params"],
        "partition_rows": imported["partition_rows"],
        "places": registry.place_names(out_dir),
        "seconds": done["seconds"],
        "rows_per_second": round(rows / max(done["seconds"], 1e-3)),
        "peak_rss_bytes": done["peak_rss_bytes"],
    }
    if told := beside.report(there, out_dir, since=ctx.started_at):
        made["beside"] = told
        for sentence in beside.sentences(told):
            ctx.say(sentence)
    return Done(
        report={"index": made},
        context={"index": {**made, "dir": str(out_dir)}},
        detail=f"{engine}: {rows:,} rows in {done['seconds']:.1f} s",
    )


def index_spec(ctx: BuildContext, engine: str) -> IndexSpec:
    """What this build's spec means for `engine`, with every parameter of it filled in."""
    schema, wanted = ctx.spec["schema"], ctx.spec["engine"]
    return IndexSpec(
        metric=schema["metric"],
        dimension=schema["dimension"],
        partitions=wanted["partitions"],
        partition_rows=tuple(ctx.values["import"]["partition_rows"]),
        threads=settings.BUILD_THREADS,
        params=engine_params(ctx.spec, engine),
    )
