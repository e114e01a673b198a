"""What a build found out of its version, as `recall builds` and `recall versions` tell it: checks and search effort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.output import remark, table

Report = dict[str, Any]

FIGURE_DECIMALS = 4


def tell_evidence(report: Report) -> None:
    """A table of the checks, and one of the efforts that were tried; nothing of what is not in the report."""
    checks = [*_passed_over(report), *map(_check, report.get("evidence", []))]
    if checks:
        print()
        table(("check", "found", "limit", "verdict", "measured"), checks, empty="")
    tune = report.get("tune") or {}
    if tune.get("curve"):
        print()
        _tell_efforts(tune)


def _check(check: Report) -> tuple[Any, ...]:
    unit = f" {check['unit']}" if check["unit"] else ""
    found = None if check["value"] is None else f"{_figure(check['value'])}{unit}"
    limit = "none" if check["limit"] is None else f"{check['bound']} {_figure(check['limit'])}{unit}"
    judged = check["verdict"] if check["limit"] is not None else "not judged"
    return (check["name"], found, limit, "not measured" if check["value"] is None else judged, check["note"])


def _passed_over(report: Report) -> Iterator[tuple[Any, ...]]:
    """What held the build, and was let pass by somebody."""
    for held in report.get("overridden", []):
        who = f"{held['by']}: {held['why']}" if held.get("why") else held["by"]
        for each in held["evidence"]:
            yield (each["name"], _figure(each["value"]), _figure(each["limit"]), "let pass", who)


def _tell_efforts(tune: Report) -> None:
    effort = tune.get("effort") or "effort"
    rows = [
        (
            _figure(point.get(effort)),
            f"{point['recall']:.4f}",
            f"{point['ms']:.3f}",
            "chosen" if _is_chosen(point, tune) else "",
        )
        for point in tune["curve"]
    ]
    table((effort, f"recall@{tune['at']}", "ms a query", ""), rows, empty="")
    if tune.get("queries_note"):
        remark(tune["queries_note"])


def _is_chosen(point: Report, tune: Report) -> bool:
    """Whether this point of the curve is the effort that the version searches with."""
    return all(point.get(name) == value for name, value in tune["search_params"].items())


def _figure(value: Any) -> str:
    """Of any size, as exact as people compare it: 0.98, 5, 1,234,567."""
    if not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,.{FIGURE_DECIMALS}f}".rstrip("0").rstrip(".")
