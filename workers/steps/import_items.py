"""Streams the drop's rows into mapped arrays, in a child, and looks at what was found there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundles import layout
from workers import guards
from workers.context import BuildContext
from workers.outcomes import Done, Evidence, Outcome, StepFailed
from workers.overrides import unless_passed
from workers.patience import wait_for_source
from workers.steps.check_counts import count_facts

SPOOL = "spool"


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed with the drop's fault. What was imported before a hold is not imported again."""
    try:
        imported = _imported_before(ctx) or _import(ctx)
    except StepFailed as error:
        waiting = wait_for_source(ctx, error.reason, error.message)
        if waiting is None:
            raise
        return waiting
    report = {"import": imported["report"]}
    facts = count_facts(ctx, imported["items"])
    context = {"import": imported, "counts": facts}
    # All in one: an override lets pass what was told, and nothing else.
    breaches = _breaches(ctx, imported["report"], facts)
    held = guards.hold(breaches, report={**report, "counts": facts}, context=context, beside=facts["live_version"])
    held = unless_passed(ctx, held, *_promised_the_same(ctx, facts))
    if held is not None:
        return held
    bad = imported["report"]["bad_rows"]
    detail = f"{imported['items']:,} items" + (f", {bad:,} bad rows" if bad else "")
    return Done(report={**report, "counts": facts}, context=context, detail=detail)


def _imported_before(ctx: BuildContext) -> dict[str, Any] | None:
    """A drop never changes under its fingerprint, so an import of it stays good while its files are there."""
    imported: dict[str, Any] | None = ctx.values.get("import")
    if imported is None or imported["fingerprint"] != ctx.build.drop_fingerprint:
        return None
    is_there = (Path(imported["dir"]) / layout.QUERIES).is_file()
    return imported if is_there else None


def _import(ctx: BuildContext) -> dict[str, Any]:
    previous = ctx.build.work_dir
    work_dir = ctx.new_work_dir()
    out_dir = work_dir / "import"
    out_dir.mkdir(exist_ok=True)
    order = {
        "source": ctx.values["source"],
        "drop": ctx.build.drop_name,
        "fingerprint": ctx.build.drop_fingerprint,
        "files": ctx.spec["source"]["files"],
        # Whether it may be taken was decided when it was resolved.
        "allow_unmarked": True,
        "schema": ctx.spec["schema"],
        "columns": ctx.spec["source"]["columns"],
        "partitions": ctx.spec["engine"]["partitions"],
        "out_dir": str(out_dir),
        # Where a remote drop is brought to, and what an earlier worker may have brought of it.
        "spool": str(work_dir / SPOOL),
        "previous_spool": str(Path(previous) / SPOOL) if previous else "",
    }
    done = ctx.run_child("workers.children.importing", order)
    return {
        "dir": str(out_dir),
        "fingerprint": ctx.build.drop_fingerprint,
        "report": done["report"],
        "items": done["report"]["items"],
        "searchable_items": done["report"]["searchable_items"],
        "partition_rows": done["report"]["partition_rows"],
        "queries_source": done["queries_source"],
    }


def _breaches(ctx: BuildContext, found: dict[str, Any], facts: dict[str, Any]) -> list[Evidence]:
    limits = ctx.spec["guards"]
    bad = guards.bad_row_breaches(limits, bad_row_percent=found["bad_row_percent"], reasons=found["reasons"])
    return bad + guards.count_breaches(limits, items=facts["items"], live_items=facts["live_items"])


def _promised_the_same(ctx: BuildContext, facts: dict[str, Any]) -> list[str]:
    """An operator who let the promised count pass has let the same count pass here, and no other one."""
    return ["check_counts"] if ctx.build.drop.get("count") == facts["items"] else []
