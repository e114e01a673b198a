"""Holds a drop whose number of items is out of the guards, before anything costly is done with it.

A drop that promises no count is counted by the import, which asks the same guards in its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from versions.selectors import live_version
from workers import guards
from workers.context import BuildContext
from workers.outcomes import Done, Hold, Outcome
from workers.overrides import unless_passed
from workers.rooms import quota_items, shortage


def step(ctx: BuildContext) -> Outcome:
    """Of the count that the manifest promises."""
    promised = ctx.build.drop.get("count")
    if promised is None:
        return Done(detail="The manifest promises no count; the import counts.")
    facts = count_facts(ctx, promised)
    # A quota is no guard: no override passes it.
    held = over_quota(ctx, promised) or unless_passed(ctx, check(ctx, facts, promised=True))
    return held or Done(report={"counts": facts}, context={"counts": facts}, detail=f"{promised:,} items promised")


def count_facts(ctx: BuildContext, items: int) -> dict[str, Any]:
    """What the guards look at; `live_generation` tells later whether the live version is still the same."""
    service = ctx.service
    live = live_version(service)
    return {
        "items": items,
        "live_version": live.number if live else None,
        "live_items": live.items if live else None,
        "live_generation": service.live_generation,
    }


def over_quota(ctx: BuildContext, items: int) -> Hold | None:
    """Before the import costs anything; `admit` looks again, at the items that are really there."""
    room = quota_items(ctx, items)
    return shortage([room], report={}) if room.need > room.free else None


def check(ctx: BuildContext, facts: Mapping[str, Any], *, promised: bool) -> Hold | None:
    """A Hold with every count that is out of its guard, or None. `promised`: nobody has counted yet."""
    counts = {name: facts[name] for name in ("items", "live_items")}
    breaches = guards.count_breaches(ctx.spec["guards"], **counts, promised=promised)
    told = {"counts": dict(facts)}
    return guards.hold(breaches, report=told, context=told, beside=facts["live_version"])
