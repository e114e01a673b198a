"""What an operator let pass: what he was told when the build was held, beside what it was judged then, and no more.

An override of a drop that is too small beside version 6 says nothing about version 7, nor about another guard. What was
told is kept with the hold and with its override (`report.overridden`).
"""

from __future__ import annotations

from workers.context import BuildContext
from workers.outcomes import Evidence, Hold

# Guards that judge by what is live; the others mean the same whatever is live.
BESIDE_LIVE = frozenset(
    {
        "max_drop_items",
        "max_drop_percent",
        "max_growth_items",
        "max_growth_percent",
        "min_id_overlap_percent",
        "max_norm_drift_percent",
        "max_p99_ratio",
        "min_overlap_at_k",
        "max_score_drift_percent",
    }
)


def unless_passed(ctx: BuildContext, held: Hold | None, *also: str) -> Hold | None:
    """`held`, or None when an operator has let all of it pass in this step, or in the steps `also`."""
    return None if held is None or is_passed(ctx, held, *also) else held


def is_passed(ctx: BuildContext, held: Hold, *also: str) -> bool:
    """Whether an operator was told each part of `held` and let it pass."""
    steps = {ctx.step, *also}
    past = [each for each in ctx.build.report.get("overridden", []) if each.get("step") in steps]
    return set(told(held)) <= {part for each in past for part in each.get("told", [])}


def told(held: Hold) -> list[str]:
    """Each guard that is not met, or else the reason, with what it was judged beside."""
    if not held.evidence:
        return [_part(held.reason, held.beside)]
    return sorted({_told_of(each, held.beside) for each in held.evidence})


def _told_of(evidence: Evidence, beside: str) -> str:
    return _part(f"{evidence.name} ({evidence.what})", beside if evidence.name in BESIDE_LIVE else "")


def _part(what: str, beside: str) -> str:
    return f"{what} beside {beside}" if beside else what
