"""What an audit's figures mean: the limits, and nothing but the limits. Pure.

A verdict needs several outcomes in a row, for the worse and for the better, so that a replica does not flap. None
means: no reason to change one's mind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from versions.models import Replica
from versions.seen import HealthSeen, ReplicaSeen
from versions.states import ReplicaState, Verdict

WRONG_AUDITS = 2
# A silence is one audit and one call to the process's loop, both unanswered for RECALL_AUDIT_SECONDS_MAX.
FROZEN_AUDITS = 2
RIGHT_AUDITS = 3
# The replica lives, and a server that its engine asks does not answer it.
AWAY_AUDITS = 2
# An agent that reports and has not audited for so long does not look after this replica: an audit takes at most a
# second, and a second lies between two.
STALE_SECONDS = 3.0
# Slow is a p99 of known-answer queries, in every one of the last audits, above this multiple of the version's p99 at
# warm-up and above the floor: far beyond what a build beside it or a busy minute does.
SLOW_P99_RATIO = 5.0
SLOW_FLOOR_MS = 100.0


@dataclass(frozen=True)
class Finding:
    """A verdict with its reason in words, and the figures beside their limits."""

    verdict: Verdict
    message: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


def finding_of(replica: Replica, seen: ReplicaSeen) -> Finding | None:
    """What the node's report says of `replica`. Needs `replica.version`."""
    if seen.state == ReplicaState.FAILED:
        return Finding(Verdict.FAILED, f"it cannot be kept running: {seen.error}")
    if seen.state != ReplicaState.READY or seen.health is None:
        return None
    return _sick(replica, seen.health) or _well(replica, seen.health)


def slow_limit_ms(replica: Replica) -> float:
    return max(SLOW_FLOOR_MS, SLOW_P99_RATIO * (replica.version.p99_ms or 0.0))


def _sick(replica: Replica, health: HealthSeen) -> Finding | None:
    if health.wrong_in_a_row >= WRONG_AUDITS:
        return Finding(Verdict.WRONG, health.error, {"agreement": health.agreement})
    stranger = _stranger(replica, health)
    if stranger is not None:
        return stranger
    if health.silent_in_a_row >= FROZEN_AUDITS:
        silences = {"silent_in_a_row": health.silent_in_a_row, "limit": FROZEN_AUDITS}
        return Finding(Verdict.FROZEN, f"it did not answer {health.silent_in_a_row} audits in a row", silences)
    if health.away_in_a_row >= AWAY_AUDITS:
        aways = {"away_in_a_row": health.away_in_a_row, "limit": AWAY_AUDITS}
        return Finding(Verdict.AWAY, health.error, aways)
    if health.age_seconds > STALE_SECONDS:
        ages = {"age_seconds": health.age_seconds, "limit": STALE_SECONDS}
        return Finding(Verdict.STALE, f"its agent reports, and has not audited it for {health.age_seconds:.0f} s", ages)
    limit_ms = slow_limit_ms(replica)
    if health.sustained_p99_ms > limit_ms:
        figures = {"p99_ms": health.sustained_p99_ms, "limit_ms": limit_ms}
        message = f"known-answer queries take {health.sustained_p99_ms:.0f} ms, at most {limit_ms:.0f} ms are allowed"
        return Finding(Verdict.SLOW, message, figures)
    return None


def _stranger(replica: Replica, health: HealthSeen) -> Finding | None:
    """Another version than was placed, or another number of items; neither ever changes in a process."""
    version = replica.version
    served, placed = (health.version, health.items), (version.number, version.searchable_items)
    if health.version == 0 or served == placed:
        return None
    message = f"it serves version {served[0]} with {served[1]:,} items; placed was {placed[0]} with {placed[1]:,}"
    return Finding(Verdict.WRONG, message, {"served_version": served[0], "items": served[1], "placed": list(placed)})


def _well(replica: Replica, health: HealthSeen) -> Finding | None:
    quick = health.p99_ms <= slow_limit_ms(replica)
    return Finding(Verdict.OK) if health.right_in_a_row >= RIGHT_AUDITS and quick else None
