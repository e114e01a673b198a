"""Holds a drop that is not about the same items as the live version, or whose vectors are of another length.

Ids and attributes are compared in a child, over mapped arrays. Lengths are those that the imports found in the files:
stored vectors may have been brought to length 1. A query model is tried first, and one that cannot serve fails the
build: no override makes it better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundles.schema import ATTRIBUTE_TYPES
from versions.models import Version
from versions.selectors import live_version
from workers import guards, query_model
from workers.context import BuildContext
from workers.outcomes import Done, Evidence, Hold, Outcome, StepFailed
from workers.overrides import unless_passed

NOTHING_LIVE = "There is no live version to compare with."


def step(ctx: BuildContext) -> Outcome:
    """Raises StepFailed: drop.model_*; items.attribute_types when the import stored another type than the schema's."""
    model = query_model.tried(ctx)
    report, context = _of_model(ctx, model)
    live = live_version(ctx.service)
    if live is None:
        return Done(report=report, context=context, detail=f"{NOTHING_LIVE}{_model_detail(model)}")
    found = _compared_before(ctx, live) or _compare(ctx, live, ctx.values["import"]["dir"])
    _check_types(ctx, found)
    report, context = {**report, "items": found}, {**context, "items": found}
    breaches = _breaches(ctx.spec["guards"], found)
    held = unless_passed(ctx, guards.hold(breaches, report=report, context=context, beside=live.number))
    if held is not None:
        return held
    warnings = _warnings(live, found, report.get("warnings") or ctx.build.report.get("warnings", []))
    return Done(report={**report, **warnings}, context=context, detail=_detail(live, found) + _model_detail(model))


def check_again(ctx: BuildContext, version: Version, live: Version) -> tuple[dict[str, Any], Hold | None]:
    """How `version`, which is published, compares with what is live by now, and a Hold when it may not be so."""
    found = _compare(ctx, live, version.artifact)
    told = {"items": found}
    breaches = _breaches(ctx.spec["guards"], found)
    return found, guards.hold(breaches, report=told, context=told, beside=live.number)


def _of_model(ctx: BuildContext, model: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Report and context of the trial of a query model, empty when there is none."""
    if model is None:
        return {}, {}
    report = query_model.report(model)
    known = ctx.build.report.get("warnings", [])
    new = [text for text in model["warnings"] if text not in known]
    return {**report, **({"warnings": [*known, *new]} if new else {})}, {query_model.CONTEXT: model}


def _model_detail(model: dict[str, Any] | None) -> str:
    return "" if model is None else f" The query model takes {model['ms']:.2f} ms."


def _compared_before(ctx: BuildContext, live: Version) -> dict[str, Any] | None:
    found: dict[str, Any] | None = ctx.values.get("items")
    if found is None or found["live_version"] != live.number:
        return None
    return found if found["fingerprint"] == ctx.build.drop_fingerprint else None


def _compare(ctx: BuildContext, live: Version, new_dir: str) -> dict[str, Any]:
    order = {"new_dir": new_dir, "live_dir": live.artifact}
    done = ctx.run_child("workers.children.comparing", order)
    is_same_ids = live.spec["schema"]["id_type"] == ctx.spec["schema"]["id_type"]
    return {
        "live_version": live.number,
        "fingerprint": ctx.build.drop_fingerprint,
        "not_compared": done["not_compared"],
        "attributes": done.get("attributes", {}),
        # Ids of another type, as a changed schema may have, can have nothing in common.
        "ids": {name: done[name] for name in ("items", "live_items", "shared")}
        if is_same_ids and not done["not_compared"]
        else None,
        "norms": _norms(ctx, live),
    }


def _norms(ctx: BuildContext, live: Version) -> dict[str, float] | None:
    """None where they mean nothing to each other: another dimension, or a live version without an import report."""
    imported, lived = ctx.build.report.get("import"), live.report.get("import")
    if live.spec["schema"]["dimension"] != ctx.spec["schema"]["dimension"] or not imported or not lived:
        return None
    return {"mean_norm": imported["mean_norm"], "live_mean_norm": lived["mean_norm"]}


def _breaches(limits: Mapping[str, Any], found: Mapping[str, Any]) -> list[Evidence]:
    ids, norms = found["ids"], found["norms"]
    breaches = guards.overlap_breaches(limits, **ids) if ids else []
    if norms:
        breaches += guards.norm_breaches(limits, norm=norms["mean_norm"], live_norm=norms["live_mean_norm"])
    return breaches


def _check_types(ctx: BuildContext, found: Mapping[str, Any]) -> None:
    """The import has brought every value to the type that the schema says, or refused its row; this is the proof."""
    wanted = {each["name"]: str(ATTRIBUTE_TYPES[each["type"]]) for each in ctx.spec["schema"]["attributes"]}
    stored = {name: each["type"] for name, each in found["attributes"].items()}
    if not found["not_compared"] and stored != wanted:
        message = f"The schema has the attributes {wanted}, the import stored {stored}."
        raise StepFailed("items.attribute_types", message)


def _warnings(live: Version, found: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """What is no guard's business and yet worth a look."""
    texts = [found["not_compared"]] if found["not_compared"] else []
    for name, each in found["attributes"].items():
        lived = each["live_null_percent"]
        if each["null_percent"] == 100.0 and lived is not None and lived < each["null_percent"]:
            texts.append(f"No item has a value for {name}; in version {live.number} {100 - lived:.3g} % have one.")
    return {"warnings": [*known, *texts]} if texts else {}


def _detail(live: Version, found: Mapping[str, Any]) -> str:
    ids = found["ids"]
    if not ids:
        return f"The ids are not compared with those of version {live.number}."
    return f"{ids['shared']:,} of {ids['items']:,} items are in version {live.number} too."
