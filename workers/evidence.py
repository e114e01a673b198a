"""The evidence of a version: one list of checks, each figure beside its limit, whatever step found it.

A check whose limit is None judges nothing and is told all the same; one that could not be measured holds when there is
a limit for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from workers import guards
from workers.context import BuildContext
from workers.outcomes import Evidence, Hold

Verdict = Literal["pass", "warn", "hold"]
Bound = Literal["at least", "at most", "exactly"]

EVIDENCE = "evidence"


@dataclass(frozen=True)
class Check:
    """`name` is the guard's in the spec where there is one; `note` tells where and against what it was measured."""

    name: str
    what: str
    value: float | None
    bound: Bound
    limit: float | None
    unit: str = ""
    verdict: Verdict = "pass"
    note: str = ""
    # What people read when it is not met.
    sentence: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "sentence"}

    def line(self) -> str:
        """`recall: 0.9812 (at least 0.95): pass`; what was not measured and has no limit has no verdict either."""
        unit = f" {self.unit}" if self.unit else ""
        value = "not measured" if self.value is None else f"{self.value:,.6g}{unit}"
        limit = "no limit" if self.limit is None else f"{self.bound} {self.limit:,.6g}{unit}"
        told = f"{self.what}: {value} ({limit})"
        return told if self.value is None and self.limit is None else f"{told}: {self.verdict}"


def at_least(
    name: str, what: str, value: float, limit: float | None, found: str, *, unit: str = "", falls: Verdict = "hold"
) -> Check:
    """`found` is what people read of `value`, which is put in for its braces; below the limit the verdict `falls`."""
    check = Check(name, what, value, "at least", limit, unit)
    return check if limit is None or value >= limit else _unmet(check, falls, found)


def at_most(name: str, what: str, value: float, limit: float | None, found: str, *, unit: str = "") -> Check:
    check = Check(name, what, value, "at most", limit, unit)
    return check if limit is None or value <= limit else _unmet(check, "hold", found)


def noted(check: Check, note: str) -> Check:
    """The same check with where, or against what, it was measured."""
    return replace(check, note=note)


def unmeasured(
    name: str, what: str, bound: Bound, limit: float | None, why: str, *, unit: str = "", passes: bool = False
) -> Check:
    """Nobody knows whether it would be met: with a limit it holds, unless it `passes` all the same."""
    check = Check(name, what, None, bound, limit, unit, note=why)
    if limit is None or passes:
        return check
    return replace(check, verdict="hold", sentence=f"The {what} could not be measured: {why} (guards.{name}).")


def report(ctx: BuildContext, checks: Iterable[Check]) -> dict[str, Any]:
    """The build's evidence with these checks, each in the place of what an earlier run of the step found.

    The build's log tells each as well.
    """
    checks = list(checks)
    for check in checks:
        ctx.say(check.line())
    found = {(each["name"], each["what"]): each for each in ctx.build.report.get(EVIDENCE, [])}
    found.update({(check.name, check.what): check.to_dict() for check in checks})
    return {EVIDENCE: list(found.values())}


def hold(
    checks: Iterable[Check],
    *,
    report: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
    beside: int | None = None,
) -> Hold | None:
    """A Hold with every check whose verdict is hold, or None. `beside`: the live version."""
    unmet = [check for check in checks if check.verdict == "hold"]
    breaches = [Evidence(each.name, each.value, each.limit or 0.0, each.what, each.sentence) for each in unmet]
    return guards.hold(breaches, report=report, context=context or {}, beside=beside)


def _unmet(check: Check, verdict: Verdict, found: str) -> Check:
    breach = guards.breach(check.name, check.value or 0.0, check.limit or 0.0, found, check.what)
    return replace(check, verdict=verdict, sentence=breach.sentence)
