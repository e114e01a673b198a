"""Beat audits what agents and gateways report: which replicas are sick, and what becomes of them.

A queue and a worker of its own, so that an audit waits behind no build and no sweep. Every round may run twice at once
(it is only wasted work) and may stop anywhere. What is not reported is not judged: a missing report never withdraws a
route.
"""

from __future__ import annotations

from collections.abc import Collection

from versions import actions, routes
from versions.models import Replica
from versions.seen import ReplicaSeen
from versions.selectors import audited_replicas, audited_services, sick_replicas
from versions.states import Verdict
from versions.verdicts import Finding, finding_of
from workers import doorbell, reports
from workers.sweep import unless_redis_is_away

# Replicas that one round audits: whole services, those first that the round before has left out.
REPLICAS_MAX = 1_000
# A worker that died in a round is forgotten after so long.
ROUND_SECONDS_MAX = 10


@unless_redis_is_away
def replicas_in_turn() -> None:
    """The tick: the services whose turn it is; nothing while another worker is in it."""
    with doorbell.alone("audit", seconds_max=ROUND_SECONDS_MAX) as mine:
        if mine:
            reports.collect()
            replicas(doorbell.in_turn("audit", audited_services(), most=REPLICAS_MAX))


def replicas(services: Collection[int]) -> None:
    """One round of these services. Raises redis.RedisError, and then nothing has changed.

    All are judged before any is treated, so that none counts on a stand-in that is sick itself.
    """
    audited = list(audited_replicas().filter(version__service__in=services))
    nodes = sorted({replica.node.name for replica in audited})
    seen = {replica.replica_id: replica for node in routes.node_reports(nodes) for replica in node.replicas}
    findings = {replica.pk: _judge(replica, seen.get(replica.pk)) for replica in audited}
    for replica in sick_replicas().filter(version__service__in=services):
        if replica.pk in findings:
            _treat(replica, findings[replica.pk])
        else:
            actions.replica_forget_sickness(replica=replica)


def _judge(replica: Replica, seen: ReplicaSeen | None) -> Finding | None:
    """Notes what the report says, and whether it makes the replica sick."""
    finding = finding_of(replica, seen) if seen is not None else None
    if seen is None or (finding is None and seen.health is None):
        return None
    actions.replica_audited(replica=replica, verdict=finding.verdict if finding else "", health=seen.health)
    if finding is not None and finding.verdict != Verdict.OK:
        actions.replica_sicken(replica=replica, finding=finding)
    return finding


def _treat(replica: Replica, finding: Finding | None) -> None:
    well = finding is not None and finding.verdict == Verdict.OK
    if well and actions.replica_recover(replica=replica):
        return
    actions.replica_treat(replica=replica, finding=None if well else finding)
