"""Judges what tune_search measured: every row is in the index, recall and sampled rows are within the guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers import evidence
from workers.context import BuildContext
from workers.evidence import Check, at_least
from workers.outcomes import Done, Hold, Outcome, StepFailed
from workers.overrides import unless_passed


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: engine.count_mismatch."""
    measured = ctx.values["tune"]
    rows = ctx.values["import"]["searchable_items"]
    if measured["count"] != rows:
        message = f"{rows} rows went into the index and {measured['count']} are in it."
        raise StepFailed("engine.count_mismatch", message)
    checks = _checks(ctx.spec, measured)
    report = {"check": _told(measured), **evidence.report(ctx, checks)}
    held = unless_passed(ctx, evidence.hold(checks, report=report))
    if held is not None:
        return _with_effort(held, measured)
    return Done(report={**report, **_warnings(ctx, measured)}, detail=f"recall {measured['recall']:.4f}")


def _checks(spec: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Check]:
    limit, target = spec["guards"]["min_recall"], spec["search"]["recall_target"]
    sampled = measured["rows_sampled"]
    found = measured["rows_found"] / sampled if sampled else 1.0
    on = f"on {measured['queries']:,} {measured['asked']}"
    checks = [
        evidence.noted(at_least("min_recall", "recall", measured["recall"], limit, "The recall is {}"), on),
        at_least("min_recall", "sampled rows found", found, limit, "Of sampled rows, {} find themselves"),
    ]
    if target is not None:
        what = "recall, against the target"
        reached = at_least("recall_target", what, measured["recall"], target, "The recall is {}", falls="warn")
        checks.append(evidence.noted(reached, on))
    return checks


def _with_effort(held: Hold, measured: Mapping[str, Any]) -> Hold:
    """Says how far the search went, and where the curve is."""
    if not measured["tuned"] or measured["reached"]:
        return held
    return replace(held, message=f"{held.message} {_furthest(measured)}")


def _furthest(measured: Mapping[str, Any]) -> str:
    name, last = measured["effort"], measured["curve"][-1]
    why = "the highest that is allowed" if measured["complete"] else "as far as there was time for"
    return f"The curve of recall was measured up to {name} {last[name]:,}, {why}."


def _told(measured: Mapping[str, Any]) -> dict[str, Any]:
    names = ("recall", "at", "queries", "rows_found", "rows_sampled", "search_ms", "search_params")
    return {name: measured[name] for name in names}


def _warnings(ctx: BuildContext, measured: Mapping[str, Any]) -> dict[str, Any]:
    target = ctx.spec["search"]["recall_target"]
    if target is None or measured["recall"] >= target:
        return {}
    text = f"Recall at {measured['at']} is {measured['recall']:.4f}, below the target of {target}."
    text = f"{text} {_furthest(measured)}" if measured["tuned"] else text
    others = [each for each in ctx.build.report.get("warnings", []) if each != text]
    return {"warnings": [*others, text]}
