"""What becomes of a replica that an audit found sick: out of the routes, cured, and back; each with its alert."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from alerts.actions import alert_raise, alert_resolve
from alerts.states import Severity
from catalog.models import Service
from versions.actions.alarms import ENGINE_UNAVAILABLE, engine_alert, engine_alert_follow
from versions.actions.replicas import tell_gateways
from versions.actions.retirement import placements_changed
from versions.models import Replica, Version
from versions.seen import HealthSeen
from versions.selectors import fresh_nodes, healthy_replicas, is_loaded, is_wrong_in_itself, open_reloads
from versions.states import ReplicaState, Verdict
from versions.subjects import version_subject_of
from versions.verdicts import Finding

log = logging.getLogger(__name__)

# Figures are written when they mean something else, or this often: changes, not heartbeats.
FIGURES_SECONDS = 5
# A cure follows the one before it after 5 s, then after twice as long each time, up to 300 s.
CURE_PAUSE_SECONDS_MIN = 5
CURE_PAUSE_SECONDS_MAX = 300
# Whoever stays well for so long has nothing to do with the cures before.
STEADY_SECONDS = 600
CURES_IN_A_ROW_COUNTED_MAX = 1_000
# In this order: the process ends, its successor warms up, and proves that it answers rightly.
CURE = ("RESTART", "WARM", "CHECK")
# Of a replica on a new node, in this order: a right answer is what it may not do without.
JOIN = ("CHECK", "WARM")
VERSION_WRONG = "version.wrong"
# A sick replica becomes worse, and then well. What was found wrong is never routed again for being merely slow.
GRAVENESS = (Verdict.AWAY, Verdict.FAILED, Verdict.STALE, Verdict.SLOW, Verdict.FROZEN, Verdict.WRONG)


def replica_audited(*, replica: Replica, verdict: str, health: HealthSeen | None) -> None:
    """Notes the figures of an audit; an empty `verdict` leaves the one before."""
    known = Replica.objects.filter(pk=replica.pk)
    values: dict[str, Any] = {"verdict": verdict or replica.verdict}
    if health is not None and health.version:
        values |= {"agreement": health.agreement, "p99_ms": health.p99_ms, "served_version": health.version}
    meant = ("verdict", "served_version")
    if any(name in values and getattr(replica, name) != values[name] for name in meant) or replica.audited_at is None:
        known.update(audited_at=Now(), **values)
        return
    # This is asked of every replica every second; that our clock is not the database's does no harm here.
    if replica.audited_at < timezone.now() - timedelta(seconds=FIGURES_SECONDS):
        known.update(audited_at=Now(), **values)


@transaction.atomic
def replica_sicken(*, replica: Replica, finding: Finding) -> bool:
    """Says that `replica` is sick, or worse than it was; False when it is so bad already, or somebody else said so."""
    before = replica.sick_reason
    if before and _graveness(finding.verdict) <= _graveness(before):
        return False
    found = Replica.objects.filter(pk=replica.pk, sick_reason=before)
    since = replica.sick_since if before else Now()
    if found.update(sick_reason=finding.verdict, sick_since=since) != 1:
        return False
    if before:
        _alert_end(replica, before)
    replica.refresh_from_db(fields=["sick_reason", "sick_since"])
    _raise(replica, finding)
    return True


@transaction.atomic
def replica_treat(*, replica: Replica, finding: Finding | None) -> None:
    """Takes a sick replica out of the routes, and has it restarted, warmed up and checked.

    One that answers wrongly goes even if it is the last of its version, unless the version is wrong in itself. Of the
    others, the last one stays and is left alone: a slow answer is better than none, and a restart would be none for a
    while. One whose engine's server is away is not restarted: it finds the server when that is back, and could not even
    load before.
    """
    _lock(replica)
    fresh = Replica.objects.select_related("version__service__tenant").filter(pk=replica.pk).exclude(sick_reason="")
    sick = fresh.first()
    if sick is None or (sick.sick_reason == Verdict.FAILED and not sick.withheld):
        return  # Its agent goes on trying.
    withheld = _can_be_spared(sick)
    # What still answers rightly ends its calls first: by the next round gateways ask others.
    is_left_alone = sick.withheld or sick.sick_reason in (Verdict.WRONG, Verdict.FROZEN)
    if withheld != sick.withheld:
        Replica.objects.filter(pk=sick.pk).update(withheld=withheld)
        sick.withheld = withheld
        tell_gateways(sick)
        log.warning("%s is %s: %s.", sick, sick.sick_reason, "out of the routes" if withheld else "in the routes")
        if finding is not None:
            _raise(sick, finding)
    if sick.sick_reason == Verdict.AWAY:
        engine_alert_follow(sick.version)
    is_curable = withheld and is_left_alone and sick.sick_reason != Verdict.AWAY
    if is_curable and sick.state == ReplicaState.READY and _cure_is_due(sick):
        _give_cure(sick)


@transaction.atomic
def replica_recover(*, replica: Replica) -> bool:
    """Says that a sick replica is well, and brings it back into the routes.

    False while its cure is under way or has failed, or when there is nothing to recover from.
    """
    _lock(replica)
    sick = Replica.objects.select_related("version__service__tenant").get(pk=replica.pk)
    if not sick.sick_reason or not _may_return(sick):
        return False
    _forget(sick)
    if sick.withheld:
        tell_gateways(sick)
    log.warning("%s is well again.", sick)
    return True


@transaction.atomic
def replica_join(*, replica: Replica) -> bool:
    """Brings a replica that was loaded in place of a lost one into the routes, once it answers rightly and is warm.

    Where no other one of its version serves it need not be warm: a slow answer is better than none. One that answers
    wrongly is sick from here on, and cured like any other. False while nothing of this has happened yet.
    """
    _lock(replica)
    new = Replica.objects.select_related("version__service__tenant", "node").get(pk=replica.pk)
    joins = new.withheld and not new.sick_reason and new.state == ReplicaState.READY
    if not joins or open_reloads().filter(version=new.version_id).exists():
        return False
    orders = _join_orders(new)
    if new.orders != orders:
        Replica.objects.filter(pk=new.pk).update(orders=orders)
        placements_changed([new.node_id])
        return False
    checked, warmed = (new.results.get(order["order_id"]) for order in orders)
    failed = next((each for each in (checked, warmed) if each and not each["ok"]), None)
    if failed is not None:
        return replica_sicken(replica=new, finding=Finding(Verdict.WRONG, failed["error"]))
    if checked is None or (warmed is None and is_loaded(new.version)):
        return False
    Replica.objects.filter(pk=new.pk).update(withheld=False, orders=[])
    placements_changed([new.node_id])
    tell_gateways(new)
    return True


@transaction.atomic
def replica_forget_sickness(*, replica: Replica) -> None:
    """Its version is on its way out, or it was taken off its node: nobody needs to hear of it any more."""
    _forget(Replica.objects.select_related("version__service__tenant").get(pk=replica.pk))


def cure_orders(number: int) -> list[dict[str, str]]:
    """The orders of the cure of this number, as a Replica holds them."""
    return [{"order_id": f"cure-{number}-{kind.lower()}", "kind": kind} for kind in CURE]


def _join_orders(replica: Replica) -> list[dict[str, str]]:
    return [{"order_id": f"join-{replica.pk}-{kind.lower()}", "kind": kind} for kind in JOIN]


def _graveness(verdict: str) -> int:
    return GRAVENESS.index(Verdict(verdict))


def _lock(replica: Replica) -> None:
    """Writes that change nothing: of two replicas, each the other's stand-in, only one is taken out at a time.

    The service first and then the version, as a switch does.
    """
    Service.objects.filter(pk=replica.version.service_id).update(route_generation=F("route_generation"))
    Version.objects.filter(pk=replica.version_id).update(number=F("number"))


def _can_be_spared(sick: Replica) -> bool:
    """Whether another one is well. Of slow ones one at a time goes: overload makes all slow, and fewer even slower.

    A wrong answer is worse than none, which ends with a restart. When the version is wrong in itself no restart ends
    it, and the last replica stays until a person has decided.
    """
    others = Replica.objects.filter(version=sick.version).exclude(pk=sick.pk)
    if sick.sick_reason == Verdict.WRONG:
        serving = others.filter(state=ReplicaState.READY, withheld=False, node__in=fresh_nodes().order_by())
        return not is_wrong_in_itself(sick.version) or serving.exists()
    if sick.sick_reason == Verdict.SLOW and others.filter(withheld=True).exists():
        return False
    return healthy_replicas(sick.version).exclude(pk=sick.pk).exists()


def _may_return(sick: Replica) -> bool:
    """One that was never taken out, or was never ill itself, returns as it is; another one has to pass its cure."""
    if sick.sick_reason == Verdict.AWAY:
        return True
    orders = cure_orders(sick.cures)
    if sick.orders != orders:
        return not sick.withheld
    return all(sick.results.get(order["order_id"], {}).get("ok", False) for order in orders)


def _cure_is_due(sick: Replica) -> bool:
    orders = cure_orders(sick.cures)
    under_way = sick.orders == orders and not all(order["order_id"] in sick.results for order in orders)
    if under_way:
        return False
    if sick.cured_at is None:
        return True
    exponent = min(max(sick.cures_in_a_row - 1, 0), 10)
    pause_seconds = min(CURE_PAUSE_SECONDS_MIN * 2**exponent, CURE_PAUSE_SECONDS_MAX)
    return Replica.objects.filter(pk=sick.pk, cured_at__lte=Now() - timedelta(seconds=pause_seconds)).exists()


def _give_cure(sick: Replica) -> None:
    row = Replica.objects.filter(pk=sick.pk, cures=sick.cures)
    steady = row.filter(cured_at__lte=Now() - timedelta(seconds=STEADY_SECONDS)).exists()
    in_a_row = 1 if steady else min(sick.cures_in_a_row + 1, CURES_IN_A_ROW_COUNTED_MAX)
    number = sick.cures + 1
    if row.update(cures=number, cures_in_a_row=in_a_row, cured_at=Now(), orders=cure_orders(number), results={}):
        log.warning("%s is %s and is restarted (cure %s).", sick, sick.sick_reason, number)
        placements_changed([sick.node_id])


def _forget(sick: Replica) -> None:
    reason = sick.sick_reason
    if Replica.objects.filter(pk=sick.pk, sick_reason=reason).update(**WELL) != 1:
        return
    _alert_end(sick, reason)
    if not is_wrong_in_itself(sick.version):
        _version_alert_end(sick.version)
    if sick.orders == cure_orders(sick.cures):
        # Else an agent that starts anew would carry them out again.
        Replica.objects.filter(pk=sick.pk, cures=sick.cures).update(orders=[])
        placements_changed([sick.node_id])


def _raise(replica: Replica, finding: Finding) -> None:
    if finding.verdict == Verdict.WRONG and is_wrong_in_itself(replica.version):
        _raise_of_version(replica.version, finding)
        return
    if finding.verdict == Verdict.WRONG:
        _version_alert_end(replica.version)
    if finding.verdict == Verdict.AWAY:
        engine_alert(version=replica.version, node=replica.node.name, error=finding.message, evidence=finding.evidence)
        return
    service: Service = replica.version.service
    live = service.live_version == replica.version.number
    alone = not healthy_replicas(replica.version).exclude(pk=replica.pk).exists()
    alert_raise(
        service=service,
        reason=_alert(finding.verdict),
        subject=_alert_subject(replica, finding.verdict),
        message=_told(replica, finding, alone=alone),
        severity=Severity.CRITICAL if live and alone else Severity.WARNING,
        evidence={"version": replica.version.number, "node": replica.node.name, **finding.evidence},
    )


def _raise_of_version(version: Version, finding: Finding) -> None:
    """One alert for the version, instead of one for each of its replicas."""
    wrong = Replica.objects.filter(version=version, sick_reason=Verdict.WRONG).select_related("node").order_by("pk")
    for replica in wrong:
        alert_resolve(service=version.service, reason=_alert(Verdict.WRONG), subject=_subject(replica))
    nodes = [replica.node.name for replica in wrong]
    message = (
        f"Version {version.number} answers wrongly on {', '.join(nodes)} and rightly nowhere: {finding.message}. It is "
        "the version itself: it is loaded on no further node, and its last replica goes on answering as it does. Roll "
        "back, or build the drop again."
    )
    alert_raise(
        service=version.service,
        reason=VERSION_WRONG,
        subject=version_subject_of(version.number),
        message=message,
        severity=Severity.CRITICAL if version.service.live_version == version.number else Severity.WARNING,
        evidence={"version": version.number, "nodes": nodes, **finding.evidence},
    )


def _version_alert_end(version: Version) -> None:
    alert_resolve(service=version.service, reason=VERSION_WRONG, subject=version_subject_of(version.number))


def _told(replica: Replica, finding: Finding, *, alone: bool) -> str:
    what = f"Replica {_subject(replica)} of version {replica.version.number} on {replica.node.name}: {finding.message}."
    if finding.verdict == Verdict.FAILED:
        return f"{what} Its agent goes on trying; look into the node's log of this replica."
    if finding.verdict == Verdict.WRONG and alone:
        return (
            f"{what} It is out of the routes, and no other replica of the version is well, so that the version does "
            "not answer until it is restarted and checked. Roll back if it stays so."
        )
    if alone:
        return f"{what} It stays in the routes, because no other replica of the version is well. Look after the node."
    return f"{what} It is out of the routes until it is restarted, warmed up and checked; the others answer."


def _alert(verdict: str) -> str:
    return ENGINE_UNAVAILABLE if verdict == Verdict.AWAY else f"replica.{verdict.lower()}"


def _alert_subject(replica: Replica, verdict: str) -> str:
    """A server is away for all replicas of a version, as a rule: that is one alert."""
    return version_subject_of(replica.version.number) if verdict == Verdict.AWAY else _subject(replica)


def _alert_end(replica: Replica, verdict: str) -> None:
    """That of the version is over when none of its replicas has reason for it."""
    others = Replica.objects.filter(version=replica.version_id, sick_reason=Verdict.AWAY).exclude(pk=replica.pk)
    if verdict == Verdict.AWAY and others.exists():
        return
    alert_resolve(service=replica.version.service, reason=_alert(verdict), subject=_alert_subject(replica, verdict))


def _subject(replica: Replica) -> str:
    return f"r{replica.pk}"


WELL: dict[str, Any] = {"sick_reason": "", "sick_since": None, "withheld": False}
