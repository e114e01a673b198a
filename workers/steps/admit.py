"""Lets a build begin only where it is going to fit: memory of the build, of its replicas, disk, the tenant's quota.

Nothing finds out by being killed. What does not fit now and will, once other work gives back what it holds, waits in
one line for all builds; what will not is held with the number and the remedy. An override looks again and passes
nothing by: neither a machine nor a tenant's quota grows with a reason.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings

from versions import actions
from versions.estimates import chosen_engine
from versions.sizes import Corrections, Plan, Sizes, corrections, formula, predicted
from workers import query_model, rooms
from workers.context import BuildContext
from workers.outcomes import Done, Outcome, Wait
from workers.steps.build_index import index_spec

WAIT_SECONDS = 5.0


def step(ctx: BuildContext) -> Outcome:
    plan = _plan(ctx)
    learned = corrections(ctx.service, plan)
    sizes = predicted(plan, learned)
    before = actions.admission_take(ctx.claim, since=ctx.started_at.isoformat(), need=_need(ctx, plan, sizes))
    ctx.poll(lambda: True)  # What the nodes have said until now.
    looked = rooms.look(ctx, plan, sizes, before)
    report = {"admit": {**_told(plan, sizes, learned), "rooms": [room.to_dict() for room in looked]}}
    short = [room for room in looked if room.need > room.free]
    if not short:
        return Done(report=report, detail=_detail(sizes))
    if all(room.need <= room.free_later for room in short) and ctx.waited_seconds < settings.BUILD_WAIT_SECONDS_MAX:
        return Wait(WAIT_SECONDS, detail=f"Waits for room. {short[0].sentence}")
    return rooms.shortage(short, report=report)


def _plan(ctx: BuildContext) -> Plan:
    imported = ctx.values["import"]
    engine, _ = chosen_engine(ctx.spec, imported["searchable_items"])
    model = query_model.found(ctx.values)
    return Plan(
        engine=engine,
        params=index_spec(ctx, engine).params,
        schema=ctx.spec["schema"],
        items=imported["items"],
        searchable=imported["searchable_items"],
        data_bytes=sum(path.stat().st_size for path in Path(imported["dir"]).iterdir() if path.is_file()),
        model_bytes=model.get("bytes", 0),
        model_memory_bytes=model.get("memory_bytes", 0),
    )


def _need(ctx: BuildContext, plan: Plan, sizes: Sizes) -> dict[str, Any]:
    """What those behind in the line have to know."""
    return {
        "machine": socket.gethostname(),
        "pid": os.getpid(),
        "items": plan.items,
        "build_bytes": sizes.build,
        "replica_bytes": sizes.replica,
        "replicas": ctx.spec["replicas"]["count"],
        "disk_bytes": rooms.disk_need(sizes),
    }


def _told(plan: Plan, sizes: Sizes, learned: Corrections) -> dict[str, Any]:
    return {"predicted": asdict(sizes), "formula": asdict(formula(plan)), "corrections": asdict(learned)}


def _detail(sizes: Sizes) -> str:
    build, replica, artifact = (rooms.size_text(each) for each in (sizes.build, sizes.replica, sizes.artifact))
    return f"Predicted: {build} to build, {replica} in each replica, {artifact} on disk."
