"""What callers of a version hear now, by what audits say of its replicas; and that no switch makes it worse unasked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from django.utils import timezone

from versions.models import Replica, Version
from versions.selectors import fresh_nodes
from versions.states import ReplicaState, Verdict

# Sick, and yet its callers are answered: late, or nobody has looked lately whether rightly.
STILL_ANSWERING = (Verdict.SLOW, Verdict.STALE)
# What is wrong with a replica, and after that for how long.
SINCE_WHEN = {
    Verdict.AWAY: "has answered nobody, because the server that its engine asks is away,",
    Verdict.WRONG: "has answered wrongly",
    Verdict.FROZEN: "has answered nobody, because its processes are frozen,",
    Verdict.FAILED: "could not be kept running",
    Verdict.SLOW: "has been too slow",
    Verdict.STALE: "has been audited by nobody",
}


class Standing(IntEnum):
    """The worst first. MUTE answers nobody, or wrongly; SICKLY answers, but no replica of it is well."""

    MUTE = 0
    SICKLY = 1
    WELL = 2


@dataclass(frozen=True)
class Condition:
    """How a version stands; when it is not well because of which verdict, and since when: the last one to be well."""

    standing: Standing
    verdict: str = ""
    since: datetime | None = None
    # Whether it has a replica that a route would name.
    is_loaded: bool = True

    @property
    def text(self) -> str:
        """`is well`, or what is wrong and for how long."""
        if self.standing == Standing.WELL:
            return "is well"
        if not self.is_loaded:
            return "answers nobody, because it is loaded on no node that is heard"
        what = SINCE_WHEN[Verdict(self.verdict)]
        if self.since is None:
            return what.removesuffix(",")
        seconds = max(0, round((timezone.now() - self.since).total_seconds()))
        return f"{what} for {seconds:,} s"


def conditions_of(versions: Iterable[Version]) -> dict[int, Condition]:
    """By the versions' keys; the number of queries does not grow with them.

    What counts are replicas that a route would name. One that no audit has looked at yet (a candidate's, or one that
    has only just been loaded) was checked by its build, and counts as well. When no node is heard the rows are trusted,
    as for a rollback.
    """
    keys = [version.pk for version in versions]
    there = Replica.objects.filter(version__in=keys, state=ReplicaState.READY, withheld=False)
    heard = fresh_nodes().order_by()
    serving: dict[int, list[Replica]] = {key: [] for key in keys}
    for replica in there.filter(node__in=heard) if heard.exists() else there:
        serving[replica.version_id].append(replica)
    return {key: _condition(replicas) for key, replicas in serving.items()}


def is_worse(target: Condition, live: Condition | None) -> bool:
    """Whether callers who are answered would not be. Late, or not looked at of late, is no reason to keep bad data.

    Where nothing is live they hear nothing, and nothing is worse.
    """
    return live is not None and target.standing == Standing.MUTE < live.standing


def _condition(serving: list[Replica]) -> Condition:
    if not serving:
        return Condition(Standing.MUTE, is_loaded=False)
    if any(not replica.sick_reason for replica in serving):
        return Condition(Standing.WELL)
    answering = [replica for replica in serving if replica.sick_reason in STILL_ANSWERING]
    # The last one that fell sick: until then somebody was answered.
    last = max(answering or serving, key=lambda replica: replica.sick_since or timezone.now())
    return Condition(Standing.SICKLY if answering else Standing.MUTE, last.sick_reason, last.sick_since)
