"""The guards of a spec as pure functions: what is not met, each number beside its limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workers.outcomes import Evidence, Hold


def count_breaches(guards: Mapping[str, Any], *, items: int, live_items: int | None) -> list[Evidence]:
    """Of the number of items: absolute, and against the live version where there is one."""
    found = [
        _below("min_items", items, guards["min_items"]),
        _above("max_items", items, guards["max_items"]),
    ]
    if live_items:
        drop, growth = live_items - items, items - live_items
        found += [
            _above("max_drop_items", drop, guards["max_drop_items"]),
            _above("max_drop_percent", _percent(drop, live_items), guards["max_drop_percent"]),
            _above("max_growth_items", growth, guards["max_growth_items"]),
            _above("max_growth_percent", _percent(growth, live_items), guards["max_growth_percent"]),
        ]
    return [evidence for evidence in found if evidence is not None]


def bad_row_breaches(guards: Mapping[str, Any], *, bad_row_percent: float) -> list[Evidence]:
    found = _above("max_bad_row_percent", bad_row_percent, guards["max_bad_row_percent"])
    return [found] if found else []


def recall_breaches(guards: Mapping[str, Any], *, recall: float, rows_found: float) -> list[Evidence]:
    """`recall` of the queries, and `rows_found`: the share of sampled rows that are found by themselves."""
    limit = guards["min_recall"]
    shares = {"recall": recall, "sampled rows found": rows_found}
    return [Evidence("min_recall", value, limit, what) for what, value in shares.items() if value < limit]


def p99_limit_ms(guards: Mapping[str, Any], *, live_p99_ms: float | None) -> float | None:
    """The slowest p99 that passes; None when there is no live version to compare with, or no such guard."""
    if live_p99_ms is None or guards["max_p99_ratio"] is None:
        return None
    return max(float(guards["max_p99_ratio"]) * live_p99_ms, float(guards["p99_floor_ms"]))


def hold(breaches: Iterable[Evidence], *, report: Mapping[str, Any], context: Mapping[str, Any]) -> Hold | None:
    """A Hold that tells all breaches in one sentence each, or None when there are none."""
    breaches = tuple(breaches)
    if not breaches:
        return None
    sentences = [f"{each.name} is {_figure(each.limit)}, {each.what}: {_figure(each.value)}." for each in breaches]
    return Hold(
        reason=f"guard.{breaches[0].name}",
        message=" ".join(sentences),
        evidence=breaches,
        report=report,
        context=context,
    )


def _below(name: str, value: float, limit: float | None) -> Evidence | None:
    return Evidence(name, value, limit) if limit is not None and value < limit else None


def _above(name: str, value: float, limit: float | None) -> Evidence | None:
    return Evidence(name, value, limit) if limit is not None and value > limit else None


def _percent(part: float, whole: float) -> float:
    return round(100.0 * part / whole, 3)


def _figure(value: float) -> str:
    return f"{value:,.4g}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"
