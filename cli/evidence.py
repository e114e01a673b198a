"""What a build found out of its version, as `recall builds` and `recall versions` tell it: checks and search effort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.output import remark, table
from common.texts import figure

Report = dict[str, Any]


def tell_evidence(report: Report) -> None:
    """A table of the checks, and one of the efforts that were tried; nothing of what is not in the report."""
    checks = [*_passed_over(report), *map(_check, report.get("evidence", []))]
    if checks:
        print()
        table(("check", "", "found", "limit", "verdict", "note"), checks, empty="")
    tune = report.get("tune") or {}
    if tune.get("curve"):
        print()
        _tell_efforts(tune)


def _check(check: Report) -> tuple[Any, ...]:
    """One guard may be judged by several figures, each with words of its own."""
    limit = "none" if check["limit"] is None else f"{check['bound']} {_figure(check['limit'], check['unit'])}"
    judged = check["verdict"] if check["limit"] is not None else "not judged"
    verdict = "not measured" if check["value"] is None else judged
    return (check["what"], check["name"], _figure(check["value"], check["unit"]), limit, verdict, check["note"])


def _passed_over(report: Report) -> Iterator[tuple[Any, ...]]:
    """What held the build, and was let pass by somebody; not every hold has figures."""
    for held in report.get("overridden", []):
        who = f"{held['by']}: {held['why']}" if held.get("why") else held["by"]
        figures = held.get("evidence") or []
        for each in figures:
            yield (each["what"], each["name"], _figure(each["value"]), _figure(each["limit"]), "let pass", who)
        if not figures:
            yield (held.get("message", ""), held.get("reason", ""), None, None, "let pass", who)


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
    remark(" ".join(_of_the_curve(tune)))


def _of_the_curve(tune: Report) -> Iterator[str]:
    """What the figures do not say."""
    yield f"Measured with {_figure(tune.get('queries'))} {tune.get('asked') or 'queries'} against exact search."
    if not tune.get("tuned"):
        yield "The effort is not tuned."
    elif not tune.get("reached"):
        yield f"The target of {_figure(tune['recall_target'])} was not reached."
    if note := tune.get("queries_note"):
        yield note


def _is_chosen(point: Report, tune: Report) -> bool:
    """Whether this point of the curve is the effort that the version searches with."""
    return all(point.get(name) == value for name, value in tune["search_params"].items())


def _figure(value: Any, unit: str = "") -> str:
    """What was not measured is a dash; what is told in words stays as it is."""
    if not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{figure(value)} {unit}".rstrip()
