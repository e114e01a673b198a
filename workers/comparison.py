"""A loaded version beside the live one: how quick both are in the same minute, and how alike their answers.

The agent of each node that holds both asks them the same queries in turns (`replicas.compare`). A node that holds only
the new version is judged by what its replica took when it was warmed up, against what the live one took then; and so
is one on which time was over before enough calls were timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from versions.models import Version
from versions.selectors import live_version
from workers import evidence, guards, orders
from workers.context import BuildContext
from workers.evidence import Check, at_least, at_most, unmeasured
from workers.outcomes import Wait

P99, OVERLAP, DRIFT = "max_p99_ratio", "min_overlap_at_k", "max_score_drift_percent"
NO_LIVE = "no version is live yet"
NOT_TOGETHER = "no node holds both it and the live version"
# A p99 of fewer calls is one of the slowest of them, which chance chooses.
TIMED_MIN = 100
FOUND_P99 = "The p99 is {} ms"
FOUND_OVERLAP = "Of the live version's answers, {} are in the new one's"
FOUND_DRIFT = "The mean score is {} % off the live version's"


@dataclass(frozen=True)
class Comparison:
    """`results` by node, empty when there was nothing to compare with; `live_generation` is the pointer's then."""

    live: int | None
    live_generation: int
    live_p99_ms: float | None
    live_model: str
    results: orders.Results

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def good(self) -> orders.Results:
        return {node: result for node, result in self.results.items() if result["ok"]}

    @property
    def why_none(self) -> str:
        """Why nothing was compared."""
        if self.live is None:
            return NO_LIVE
        return orders.failures(self.results) or NOT_TOGETHER


def compare(ctx: BuildContext, version: Version, name: str, detail: str) -> Comparison | Wait:
    """With what is live now; a Wait (`detail`) while a node has not answered yet.

    `name` makes the order one of its own. Raises StepFailed: replica.lost, replica.order_timeout.
    """
    service = ctx.service
    live = live_version(service)
    if live is None or live.number == version.number:
        return Comparison(None, service.live_generation, None, "", {})
    order_id = f"v{version.number}-compare-{name}-v{live.number}"
    at = ctx.spec["search"]["at"]
    results = orders.carry_out(ctx, version, "COMPARE", order_id, detail, beside=live, top_k=at)
    if isinstance(results, Wait):
        return results
    return Comparison(live.number, service.live_generation, live.p99_ms, live.model_version, results)


def known(values: Mapping[str, Any]) -> Comparison | None:
    """What an earlier step found and left in the build's context."""
    found = values.get("comparison")
    return Comparison(**found) if found else None


def p99_check(spec: Mapping[str, Any], compared: Comparison, warmed: orders.Results) -> Check:
    """Of the replica that is the farthest above its limit, or nearest to it."""
    checks = [_p99_of(spec["guards"], node, compared, result) for node, result in warmed.items()]
    return max(checks, key=lambda check: (check.value or 0.0) - (check.limit or 0.0))


def likeness_checks(spec: Mapping[str, Any], compared: Comparison, version: Version) -> list[Check]:
    """Of the node that is least like live. Figures of two models are compared too, and the note says so."""
    limits = spec["guards"]
    overlap_what, drift_what = f"overlap with live at {spec['search']['at']}", "drift of the mean score"
    if not compared.good:
        why, first = compared.why_none, compared.live is None
        return [
            unmeasured(OVERLAP, overlap_what, "at least", limits[OVERLAP], why, passes=first),
            unmeasured(DRIFT, drift_what, "at most", limits[DRIFT], why, unit="%", passes=first),
        ]
    overlap = min(result["overlap"] for result in compared.good.values())
    drift = max(_drift_percent(result) for result in compared.good.values())
    return [
        evidence.noted(check, _against(compared, version))
        for check in (
            at_least(OVERLAP, overlap_what, overlap, limits[OVERLAP], FOUND_OVERLAP),
            at_most(DRIFT, drift_what, drift, limits[DRIFT], FOUND_DRIFT, unit="%"),
        )
    ]


def _p99_of(limits: Mapping[str, Any], node: str, compared: Comparison, warmed: Mapping[str, Any]) -> Check:
    beside = compared.good.get(node)
    in_turns = beside is not None and (_timed(beside) >= TIMED_MIN or compared.live_p99_ms is None)
    p99_ms = beside["p99_ms"] if beside and in_turns else warmed["p99_ms"]
    live_ms = beside["beside_p99_ms"] if beside and in_turns else compared.live_p99_ms
    limit_ms = guards.p99_limit_ms(limits, live_p99_ms=live_ms)
    how = "asked in turns" if in_turns else "when each was warmed up"
    if beside:
        few = "" if in_turns else f", of {TIMED_MIN} that are required"
        how = f"{how}; calls timed in turns: {_timed(beside):,}{few}"
    note = NO_LIVE if live_ms is None else f"live version {compared.live}: {live_ms:.2f} ms, {how}"
    return evidence.noted(at_most(P99, "p99", p99_ms, limit_ms, FOUND_P99, unit="ms"), f"{node}; {note}")


def _timed(result: Mapping[str, Any]) -> int:
    """How many calls of each were timed in turns; agents of an older release do not say."""
    return int(result.get("timed", 0))


def _drift_percent(result: Mapping[str, Any]) -> float:
    ours, live = float(result["mean_score"]), float(result["beside_mean_score"])
    if live:
        return round(100.0 * abs(ours - live) / abs(live), 3)
    return 100.0 if ours else 0.0


def _against(compared: Comparison, version: Version) -> str:
    note = f"against live version {compared.live}"
    if compared.live_model == version.model_version:
        return note
    return f"{note}, of another model ({compared.live_model or 'unnamed'} -> {version.model_version or 'unnamed'})"
