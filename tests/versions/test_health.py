"""What becomes of replicas that audits find sick: rows, routes and alerts. The replicas are on paper."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

import replicas.health
from alerts.models import Alert
from catalog.models import Service
from documents.store import Stamp
from recallpb.internal.v1.documents_pb2 import OrderResult
from replicas.agent import REPORT_SECONDS
from replicas.health import Health
from tests.support.history import activated, claimed, completed, heard_of, place, refreshed, report, resolved, seen
from tests.support.history import asked as build_asked
from versions import actions, selectors
from versions.models import Node, Replica, Version
from versions.routes.messages import route_message
from versions.routes.reports import _health
from versions.seen import HealthSeen, NodeSeen, ReplicaSeen
from versions.selectors import replica_view
from versions.verdicts import (
    AWAY_AUDITS,
    FROZEN_AUDITS,
    RIGHT_AUDITS,
    SLOW_FLOOR_MS,
    SLOW_P99_RATIO,
    STALE_SECONDS,
    WRONG_AUDITS,
    finding_of,
)
from workers import audit

pytestmark = pytest.mark.django_db
# What issue 3 asks for; the pause between two audits and the tick that hears of them, as they are by default.
UNROUTED_SECONDS_MAX, PAUSE_SECONDS, TICK_SECONDS = 5.0, 1.0, 1.0
LONG_AGO = "2020-01-01T00:00:00+00:00"

WELL = HealthSeen(
    age_seconds=0.5,
    agreement=1.0,
    version=1,
    items=100,
    p99_ms=3.0,
    sustained_p99_ms=2.0,
    right_in_a_row=RIGHT_AUDITS,
)
WELL_YOUNG = HealthSeen(0.5, 1.0, 1, 100, "", right_in_a_row=1)
WRONG = HealthSeen(0.5, 0.3, 1, 100, "0.300 of the known neighbours were found", 3.0, 2.0, wrong_in_a_row=WRONG_AUDITS)
SLOW = HealthSeen(0.5, 1.0, 1, 100, "", 900.0, SLOW_FLOOR_MS + 1, right_in_a_row=9)
FROZEN = HealthSeen(0.5, 1.0, 1, 100, "", 3.0, 2.0, silent_in_a_row=FROZEN_AUDITS)
AWAY = HealthSeen(0.5, 1.0, 1, 100, "the instance blue: nobody listens", 3.0, 2.0, away_in_a_row=AWAY_AUDITS)
STALE = HealthSeen(STALE_SECONDS + 1, 1.0, 1, 100, "", 3.0, 2.0, right_in_a_row=9)


class Nodes:
    """The version's replicas, one on each node, and what their agents say of them in each round."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.service = service
        claim = claimed(build_asked(service, force=True))
        resolved(claim, "drop-1")
        self.version = completed(claim)
        for name in names:
            replica = place(claim, self.version, name)
            report(name, seen(replica))
        actions.build_succeed(claim)
        activated(self.version)
        self._said: list[tuple[str, ReplicaSeen]] = []
        monkeypatch.setattr("versions.routes.node_reports", self._reports)

    def audit(self, health: dict[str, HealthSeen | None], *, failed: str = "") -> None:
        """One round in which each node that is named reports this health of its replica, or that it has `failed`."""
        self._said = [(name, seen(self.replica(name), health=one)) for name, one in health.items()]
        if failed:
            self._said.append((failed, seen(self.replica(failed), "FAILED", error="it died 5 times")))
        for name, replica in self._said:
            report(name, replica)
        audit.replicas([self.service.pk])

    def carry_out(self, name: str, *, ok: bool = True) -> None:
        """The node's agent has done what the replica's orders want."""
        replica = self.replica(name)
        results = {order["order_id"]: {"ok": ok, "error": "" if ok else "no"} for order in replica.orders}
        report(name, seen(replica, results=results))

    def replica(self, name: str) -> Replica:
        return Replica.objects.select_related("version__service", "node").get(version=self.version, node__name=name)

    def routed(self) -> list[str]:
        """The nodes that the route of the service names."""
        route = route_message(refreshed(self.service), Stamp(1, 1))
        return [replica.node for replica in route.versions[0].replicas]

    def alerts(self) -> dict[str, str]:
        """State of each alert, by its reason and subject."""
        return {f"{alert.reason} {alert.subject}": alert.state for alert in Alert.objects.order_by("pk")}

    def _reports(self, nodes: list[str]) -> list[NodeSeen]:
        return [NodeSeen(name=name, replicas=(replica,)) for name, replica in self._said if name in nodes]


@pytest.fixture
def nodes(films_service, monkeypatch):
    """Replicas on the nodes `a` and `b`, both found well."""
    both = Nodes(films_service, monkeypatch, "a", "b")
    both.audit({"a": WELL, "b": WELL})
    return both


@pytest.fixture
def lone(films_service, monkeypatch):
    """The only replica, on the node `a`, found well."""
    one = Nodes(films_service, monkeypatch, "a")
    one.audit({"a": WELL})
    return one


@pytest.mark.parametrize(
    ("health", "verdict"), [(WRONG, "WRONG"), (SLOW, "SLOW"), (FROZEN, "FROZEN"), (STALE, "STALE")]
)
def test_a_sick_replica_leaves_the_routes_until_its_cure_has_succeeded(nodes, health, verdict):
    generation = refreshed(nodes.service).route_generation
    nodes.audit({"a": health, "b": WELL})
    sick = nodes.replica("a")
    assert (sick.sick_reason, sick.verdict, sick.withheld) == (verdict, verdict, True)
    assert nodes.routed() == ["b"]
    assert refreshed(nodes.service).route_generation == generation + 1
    nodes.audit({"a": health, "b": WELL})  # What answers rightly has ended its calls by the next round.
    sick = nodes.replica("a")
    assert [order["kind"] for order in sick.orders] == ["RESTART", "WARM", "CHECK"]
    alert = Alert.objects.get()
    assert (alert.reason, alert.subject, alert.severity) == (f"replica.{verdict.lower()}", f"r{sick.pk}", "warning")
    assert "out of the routes until it is restarted" in alert.message
    nodes.audit({"a": WELL, "b": WELL})
    assert (nodes.replica("a").sick_reason, nodes.routed()) == (verdict, ["b"])
    nodes.carry_out("a")
    nodes.audit({"a": WELL, "b": WELL})
    cured = nodes.replica("a")
    assert (cured.sick_reason, cured.sick_since, cured.withheld, cured.orders) == ("", None, False, [])
    assert nodes.routed() == ["a", "b"]
    assert nodes.alerts() == {f"replica.{verdict.lower()} r{sick.pk}": "RESOLVED"}


def test_of_slow_replicas_one_at_a_time_leaves_the_routes(films_service, monkeypatch):
    """Overload makes all of them slow, and the fewer are left the slower they are."""
    three = Nodes(films_service, monkeypatch, "a", "b", "c")
    three.audit({"a": WELL, "b": WELL, "c": WELL})
    three.audit({"a": SLOW, "b": SLOW, "c": WELL})
    assert three.routed() == ["b", "c"]
    three.audit({"a": SLOW, "b": SLOW, "c": WELL})
    assert three.routed() == ["b", "c"]
    assert [three.replica(name).withheld for name in "abc"] == [True, False, False]


def test_a_cure_that_failed_is_repeated_after_a_pause_that_grows(nodes):
    nodes.audit({"a": WRONG, "b": WELL})
    nodes.carry_out("a", ok=False)
    nodes.audit({"a": WELL, "b": WELL})
    assert (nodes.replica("a").cures, nodes.routed()) == (1, ["b"])
    for cures in (2, 3):
        Replica.objects.filter(node__name="a").update(cured_at=LONG_AGO, cures_in_a_row=cures)
        nodes.audit({"a": WRONG, "b": WELL})
        assert nodes.replica("a").cures == cures
        nodes.carry_out("a", ok=False)
    nodes.audit({"a": WRONG, "b": WELL})
    assert nodes.replica("a").cures == 3
    assert nodes.alerts() == {f"replica.wrong r{nodes.replica('a').pk}": "OPEN"}


@pytest.mark.parametrize("health", [SLOW, FROZEN, STALE])
def test_the_last_replica_stays_in_the_routes_and_is_not_restarted(lone, health):
    lone.audit({"a": health})
    sick = lone.replica("a")
    assert (sick.sick_reason != "", sick.withheld, sick.orders, lone.routed()) == (True, False, [], ["a"])
    alert = Alert.objects.get()
    assert (alert.severity, "stays in the routes" in alert.message) == ("critical", True)
    lone.audit({"a": WELL})
    assert (lone.replica("a").sick_reason, list(lone.alerts().values())) == ("", ["RESOLVED"])


def test_a_wrong_one_leaves_the_routes_even_if_it_is_the_last(lone):
    lone.audit({"a": WRONG})
    assert (lone.routed(), lone.replica("a").cures) == ([], 1)
    alert = Alert.objects.get()
    assert (alert.severity, "Roll back if it stays so" in alert.message) == ("critical", True)
    assert selectors.is_loaded(lone.version) is False
    lone.carry_out("a")
    lone.audit({"a": WELL})
    assert lone.routed() == ["a"]
    assert selectors.is_loaded(lone.version) is True


def test_a_server_that_an_engine_asks_and_that_is_away_is_one_alert_and_no_replicas_fault(nodes):
    subject = f"version {nodes.version.number}"
    nodes.audit({"a": AWAY, "b": AWAY})
    nodes.audit({"a": AWAY, "b": AWAY})
    assert nodes.routed() == ["a", "b"]
    assert [(each.sick_reason, each.cures, each.orders) for each in map(nodes.replica, "ab")] == [("AWAY", 0, [])] * 2
    alert = Alert.objects.get()
    assert (alert.reason, alert.subject, alert.severity) == ("engine.unavailable", subject, "critical")
    assert "the instance blue: nobody listens. Callers are told UNAVAILABLE" in alert.message
    nodes.audit({"a": WELL, "b": AWAY})
    assert nodes.alerts() == {f"engine.unavailable {subject}": "OPEN"}
    nodes.audit({"a": WELL, "b": WELL})
    assert nodes.alerts() == {f"engine.unavailable {subject}": "RESOLVED"}
    assert nodes.routed() == ["a", "b"]


def test_a_server_that_one_node_does_not_reach_takes_its_replica_out_of_the_routes_until_it_does(nodes):
    for _ in range(3):
        nodes.audit({"a": AWAY, "b": WELL})
        assert nodes.routed() == ["b"]
    # A restart would end in a process that cannot load.
    assert (nodes.replica("a").cures, nodes.replica("a").orders) == (0, [])
    assert Alert.objects.get().severity == "warning"
    nodes.audit({"a": WELL, "b": WELL})
    assert nodes.routed() == ["a", "b"]
    assert list(nodes.alerts().values()) == ["RESOLVED"]


def test_what_an_away_server_turns_out_to_have_lost_is_wrong_and_worse(lone):
    lone.audit({"a": AWAY})
    lone.audit({"a": WRONG})
    sick = lone.replica("a")
    assert (sick.sick_reason, sick.cures) == ("WRONG", 1)
    subject = f"version {lone.version.number}"
    assert lone.alerts() == {f"engine.unavailable {subject}": "RESOLVED", f"replica.wrong r{sick.pk}": "OPEN"}


def test_when_all_are_slow_it_is_the_load_and_nothing_is_taken_out(nodes):
    nodes.audit({"a": SLOW, "b": SLOW})
    assert nodes.routed() == ["a", "b"]
    assert [nodes.replica(name).cures for name in "ab"] == [0, 0]
    assert sorted(nodes.alerts().values()) == ["OPEN", "OPEN"]


def test_one_that_was_taken_out_comes_back_when_its_stand_in_is_lost(nodes):
    nodes.audit({"a": SLOW, "b": WELL})
    nodes.carry_out("a", ok=False)
    nodes.audit({"a": SLOW, "b": WELL})
    assert nodes.routed() == ["b"]
    report("b", seen(nodes.replica("b"), "FAILED", error="it died 5 times"))
    nodes.audit({"a": SLOW})
    assert nodes.routed() == ["a"]


def test_a_sick_replica_may_become_worse_and_never_less_sick_but_well(nodes):
    nodes.audit({"a": SLOW, "b": WELL})
    nodes.audit({"a": WRONG, "b": WELL})
    nodes.audit({"a": FROZEN, "b": WELL})
    sick = nodes.replica("a")
    assert sick.sick_reason == "WRONG"
    assert nodes.alerts() == {f"replica.slow r{sick.pk}": "RESOLVED", f"replica.wrong r{sick.pk}": "OPEN"}


def test_what_is_not_reported_is_not_judged(nodes):
    nodes.audit({})
    nodes.audit({"a": None, "b": None})
    assert (nodes.routed(), nodes.alerts()) == (["a", "b"], {})


def test_a_replica_that_says_it_serves_something_else_is_wrong_at_once_and_its_skew_is_seen(nodes):
    stranger = HealthSeen(0.5, 1.0, version=7, items=90, right_in_a_row=9)
    nodes.audit({"a": stranger, "b": WELL})
    view = replica_view(nodes.replica("a"))
    assert (view["version"], view["served_version"], view["skewed"], view["routed"]) == (1, 7, True, False)
    assert view["sick"]["reason"] == "WRONG"
    assert "serves version 7 with 90 items; placed was 1 with 100" in Alert.objects.get().message
    assert replica_view(nodes.replica("b"))["skewed"] is False


def test_a_replica_that_cannot_be_kept_running_is_told_and_left_to_its_agent(nodes):
    nodes.audit({"b": WELL}, failed="a")
    sick = nodes.replica("a")
    assert (sick.sick_reason, sick.orders, nodes.routed()) == ("FAILED", [], ["b"])
    assert nodes.alerts() == {f"replica.failed r{sick.pk}": "OPEN"}
    nodes.audit({"a": WELL, "b": WELL})
    assert (nodes.routed(), set(nodes.alerts().values())) == (["a", "b"], {"RESOLVED"})


@pytest.mark.parametrize(
    "health",
    [
        HealthSeen(0.5, 0.3, 1, 100, "few were found", wrong_in_a_row=WRONG_AUDITS - 1),
        HealthSeen(0.5, 1.0, 1, 100, silent_in_a_row=FROZEN_AUDITS - 1),
        HealthSeen(0.5, 1.0, 1, 100, right_in_a_row=RIGHT_AUDITS - 1),
        HealthSeen(0.5, 1.0, 1, 100, p99_ms=900.0, sustained_p99_ms=2.0, right_in_a_row=9),
        HealthSeen(STALE_SECONDS - 1),
    ],
)
def test_one_bad_moment_changes_nothing_and_one_good_one_neither(nodes, health):
    assert finding_of(nodes.replica("a"), seen(nodes.replica("a"), health=health)) is None
    nodes.audit({"a": health, "b": WELL})
    assert (nodes.replica("a").verdict, nodes.routed(), nodes.alerts()) == ("OK", ["a", "b"], {})


GOES = {
    "wrong": (OrderResult(ok=False, p99_ms=2.0), 0.02, "WRONG"),
    "frozen": (None, 1.0, "FROZEN"),
    "just too slow": (OrderResult(ok=True, version=1, items=100, agreement=1.0, p99_ms=120.0), 0.12, "SLOW"),
    "slower": (OrderResult(ok=True, version=1, items=100, agreement=1.0, p99_ms=299.0), 0.32, "SLOW"),
    "slow": (OrderResult(ok=True, version=1, items=100, agreement=1.0, p99_ms=300.0), 0.32, "SLOW"),
    "very slow": (OrderResult(ok=True, version=1, items=100, agreement=1.0, p99_ms=980.0), 1.0, "SLOW"),
    "waiting": (grpc.StatusCode.DEADLINE_EXCEEDED, 1.0, "SLOW"),
}


@pytest.mark.parametrize("how", GOES)
def test_from_the_worst_moment_on_a_verdict_and_the_tick_that_hears_it_take_no_more_than_five_seconds(
    nodes, monkeypatch, how
):
    """It goes bad right after an audit. On paper: a call of the worker, and the route's way, are milliseconds."""
    outcome, took_seconds, verdict = GOES[how]
    clock, health = audited_well(monkeypatch)
    began_at = clock.now
    found = None
    while found is None:
        clock.now += PAUSE_SECONDS + took_seconds
        status = outcome or grpc.StatusCode.UNAVAILABLE
        health.note(status, lives=outcome is not None, greets=True, seconds_max=1.0)
        if health.worrying:  # Else the next report tells of it, a second later.
            found = finding_of(nodes.replica("a"), seen(nodes.replica("a"), health=_health(health.message())))
        assert clock.now - began_at < UNROUTED_SECONDS_MAX
    assert found.verdict == verdict
    assert clock.now - began_at + TICK_SECONDS <= UNROUTED_SECONDS_MAX


def test_so_does_the_verdict_of_an_agent_that_has_stopped_looking(nodes, monkeypatch):
    clock, health = audited_well(monkeypatch)
    began_at, found = clock.now, None
    while found is None or found.verdict == "OK":
        clock.now += REPORT_SECONDS
        found = finding_of(nodes.replica("a"), seen(nodes.replica("a"), health=_health(health.message())))
    assert found.verdict == "STALE"
    assert clock.now - began_at + TICK_SECONDS <= UNROUTED_SECONDS_MAX
    assert STALE_SECONDS > PAUSE_SECONDS + 1.0, "an audit that takes as long as it may makes nobody stale"


def audited_well(monkeypatch) -> tuple[SimpleNamespace, Health]:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(replicas.health, "time", SimpleNamespace(monotonic=lambda: clock.now))
    health = Health()
    for _ in range(10):
        clock.now += PAUSE_SECONDS
        well = OrderResult(ok=True, version=1, items=100, agreement=1.0, p99_ms=2.0)
        health.note(well, lives=True, greets=True, seconds_max=1.0)
        health.message()
    return clock, health


def test_slow_is_measured_against_the_versions_own_p99_at_warm_up(nodes):
    replica = nodes.replica("a")
    replica.version.p99_ms = 50.0
    limit_ms = SLOW_P99_RATIO * 50.0
    quick, slow = (HealthSeen(0.5, 1.0, 1, 100, "", p99, p99, right_in_a_row=9) for p99 in (limit_ms, limit_ms + 1))
    assert [finding_of(replica, seen(replica, health=each)).verdict for each in (quick, slow)] == ["OK", "SLOW"]


def test_nobody_hears_of_a_sick_replica_whose_version_is_on_its_way_out(nodes):
    nodes.audit({"a": SLOW, "b": WELL})
    Version.objects.filter(pk=nodes.version.pk).update(state="RETIRING")
    nodes.audit({"a": SLOW, "b": WELL})
    assert (nodes.replica("a").sick_reason, list(nodes.alerts().values())) == ("", ["RESOLVED"])


def test_a_version_that_is_wrong_on_its_replacement_too_spreads_no_further_and_its_last_replica_stays(lone):
    """Else it would be loaded on node after node, and answer on none."""
    lone.audit({"a": WRONG})
    assert lone.routed() == []
    Replica.objects.update(sick_since=LONG_AGO)
    assert selectors.short_of_replicas() == [(lone.version, 1)], "this may be the node's fault"
    actions.replicas_replenish(version=lone.version, nodes=[heard_of("b")])
    actions.replicas_let_in(version=lone.version)
    lone.audit({"a": WRONG, "b": WELL_YOUNG})
    for _ in range(2):
        lone.audit({"a": WRONG, "b": WRONG})
        Replica.objects.update(sick_since=LONG_AGO)
        assert lone.routed() == ["b"]
        assert selectors.short_of_replicas() == []
    assert (lone.replica("b").withheld, lone.replica("b").cures) == (False, 0)
    first = f"r{lone.replica('a').pk}"
    assert lone.alerts() == {f"replica.wrong {first}": "RESOLVED", "version.wrong version 1": "OPEN"}
    alert = Alert.objects.get(reason="version.wrong")
    assert (alert.severity, alert.evidence["nodes"]) == ("critical", ["a", "b"])
    assert "answers wrongly on a, b and rightly nowhere" in alert.message
    assert "its last replica goes on answering" in alert.message


def test_when_one_replica_of_a_wrong_version_is_cured_it_was_not_the_version(lone):
    lone.audit({"a": WRONG})
    actions.replicas_replenish(version=lone.version, nodes=[heard_of("b")])
    actions.replicas_let_in(version=lone.version)
    lone.audit({"a": WRONG, "b": WRONG})
    assert lone.routed() == ["b"]
    lone.carry_out("a")
    lone.audit({"a": WELL, "b": WRONG})
    lone.audit({"a": WELL, "b": WRONG})
    assert lone.routed() == ["a"]
    second = f"replica.wrong r{lone.replica('b').pk}"
    assert lone.alerts()["version.wrong version 1"] == "RESOLVED"
    assert lone.alerts()[second] == "OPEN"


def test_of_a_version_that_turns_wrong_on_all_its_nodes_at_once_one_replica_stays(nodes):
    for _ in range(3):
        nodes.audit({"a": WRONG, "b": WRONG})
        assert nodes.routed() == ["b"]
    assert [alert for alert, state in nodes.alerts().items() if state == "OPEN"] == ["version.wrong version 1"]


def test_a_lost_node_of_a_wrong_version_is_replaced_all_the_same(nodes):
    """It is loaded on as many nodes as before, and on no more."""
    spec = {**nodes.version.spec, "replicas": {"count": 2, "zones": []}}
    Version.objects.filter(pk=nodes.version.pk).update(spec=spec)
    nodes.audit({"a": WRONG, "b": WRONG})
    Replica.objects.update(sick_since=LONG_AGO)
    assert selectors.short_of_replicas() == []
    Node.objects.filter(name="b").update(seen_at=LONG_AGO)
    assert [missing for _, missing in selectors.short_of_replicas()] == [1]
    assert selectors.short_of_replicas(["b"]) == [], "it reports, and its row is behind"


def test_an_incurable_replica_is_loaded_elsewhere(nodes):
    spec = {**nodes.version.spec, "replicas": {"count": 2, "zones": []}}
    Version.objects.filter(pk=nodes.version.pk).update(spec=spec)
    nodes.audit({"a": WRONG, "b": WELL})
    assert selectors.short_of_replicas() == []
    Replica.objects.filter(node__name="a").update(sick_since=LONG_AGO)
    assert [(version.number, missing) for version, missing in selectors.short_of_replicas()] == [(1, 1)]


def test_figures_are_written_when_they_mean_something_else_and_else_seldom(nodes):
    before = nodes.replica("a").audited_at
    nodes.audit({"a": WELL, "b": WELL})
    assert nodes.replica("a").audited_at == before
    Replica.objects.update(audited_at=LONG_AGO)
    nodes.audit({"a": WELL, "b": WELL})
    assert nodes.replica("a").audited_at > before
