"""The guards of a spec as pure functions: what is not met, each number beside its limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workers.outcomes import Evidence, Hold

LIMITS = {
    "min_items": "at least {} must be there",
    "max_items": "at most {} may be there",
    "max_drop_items": "at most {} fewer may be",
    "max_drop_percent": "at most {} % fewer may be",
    "max_growth_items": "at most {} more may be",
    "max_growth_percent": "at most {} % more may be",
    "max_bad_row_percent": "at most {} % may be",
    "min_id_overlap_percent": "at least {} % must be",
    "max_norm_drift_percent": "at most {} % may be",
    "min_recall": "at least {} is asked for",
    "recall_target": "{} is the target",
    "known_answers": "at least {} is right",
    "max_p99_ratio": "at most {} ms may be",
    "min_overlap_at_k": "at least {} is asked for",
    "max_score_drift_percent": "at most {} % may be",
}
# Beside a live version that answers within less, no ratio can be measured.
P99_SLACK_MS = 2.0
DECIMALS = 2
DECIMALS_MAX = 9


def count_breaches(
    guards: Mapping[str, Any], *, items: int, live_items: int | None, promised: bool = False
) -> list[Evidence]:
    """Of the number of items: absolute, and against the live version where there is one.

    `promised`: the manifest says so, and nobody has counted yet.
    """
    begin = "The manifest promises " if promised else ""
    found = [
        _below(guards, "min_items", items, f"{begin}{{}} items"),
        _above(guards, "max_items", items, f"{begin}{{}} items"),
    ]
    if live_items:
        drop, growth = live_items - items, items - live_items
        here, live = f"{begin}{items:,} items", f"than live ({live_items:,})"
        found += [
            _above(guards, "max_drop_items", drop, f"{here}, {{}} fewer {live}"),
            _above(guards, "max_drop_percent", _percent(drop, live_items), f"{here}, {{}} % fewer {live}"),
            _above(guards, "max_growth_items", growth, f"{here}, {{}} more {live}"),
            _above(guards, "max_growth_percent", _percent(growth, live_items), f"{here}, {{}} % more {live}"),
        ]
    return [evidence for evidence in found if evidence is not None]


def bad_row_breaches(
    guards: Mapping[str, Any], *, bad_row_percent: float, reasons: Mapping[str, int]
) -> list[Evidence]:
    """`reasons`: how many rows are bad for which reason."""
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    found = _above(guards, "max_bad_row_percent", bad_row_percent, f"{{}} % of the rows are bad ({counts})")
    return [found] if found else []


def overlap_breaches(guards: Mapping[str, Any], *, shared: int, items: int, live_items: int) -> list[Evidence]:
    """Of the smaller of both sets of ids, how much is in the other: how many there are is for the guards of counts."""
    smaller = min(items, live_items)
    if not smaller:
        return []
    found = f"{{}} % of the ids are shared with live ({shared:,} of {smaller:,})"
    evidence = _below(guards, "min_id_overlap_percent", _percent(shared, smaller), found)
    return [evidence] if evidence else []


def norm_breaches(guards: Mapping[str, Any], *, norm: float, live_norm: float) -> list[Evidence]:
    """The mean Euclidean length of the vectors as delivered, against the live version's, in both directions."""
    if not live_norm:
        return []
    found = f"The mean length of the vectors is {norm:.4g}, {{}} % away from live ({live_norm:.4g})"
    evidence = _above(guards, "max_norm_drift_percent", _percent(abs(norm - live_norm), live_norm), found)
    return [evidence] if evidence else []


def p99_limit_ms(guards: Mapping[str, Any], *, live_p99_ms: float | None) -> float | None:
    """The slowest p99 that passes; None when there is no live version to compare with, or no such guard."""
    if live_p99_ms is None or guards["max_p99_ratio"] is None:
        return None
    ratio, floor_ms = float(guards["max_p99_ratio"]), float(guards["p99_floor_ms"])
    return max(ratio * live_p99_ms, live_p99_ms + P99_SLACK_MS, floor_ms)


def hold(
    breaches: Iterable[Evidence], *, report: Mapping[str, Any], context: Mapping[str, Any], beside: int | None = None
) -> Hold | None:
    """A Hold that tells all breaches in one sentence each, or None when there are none. `beside`: the live version."""
    breaches = tuple(breaches)
    if not breaches:
        return None
    return Hold(
        reason=f"guard.{breaches[0].name}",
        message=" ".join(each.sentence for each in breaches),
        evidence=breaches,
        report=report,
        context=context,
        beside=version_text(beside),
    )


def version_text(number: int | None) -> str:
    return "" if number is None else f"version {number}"


def breach(name: str, value: float, limit: float, found: str, what: str) -> Evidence:
    """A guard that is not met; `found` is what people read of `value`, which is put in for its braces."""
    decimals = DECIMALS
    while round(value, decimals) == round(limit, decimals) and decimals < DECIMALS_MAX:
        # So that the figure is seen to be beyond its limit.
        decimals += 1
    allowed = LIMITS[name].format(_figure(limit, decimals))
    return Evidence(name, value, limit, what, f"{found.format(_figure(value, decimals))}; {allowed} (guards.{name}).")


def _below(guards: Mapping[str, Any], name: str, value: float, found: str) -> Evidence | None:
    limit = guards[name]
    return breach(name, value, limit, found, "found") if limit is not None and value < limit else None


def _above(guards: Mapping[str, Any], name: str, value: float, found: str) -> Evidence | None:
    limit = guards[name]
    return breach(name, value, limit, found, "found") if limit is not None and value > limit else None


def _percent(part: float, whole: float) -> float:
    return round(100.0 * part / whole, 3)


def _figure(value: float, decimals: int) -> str:
    return f"{round(value, decimals):,}".removesuffix(".0")
