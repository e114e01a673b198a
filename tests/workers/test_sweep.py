"""The reconciler: what was lost or left undone is found in the rows."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import pytest
from celery import current_app

from alerts.models import Alert
from audit.models import AuditEvent
from catalog.actions import service_delete
from documents.store import ROUTES, Stamp
from recallpb.internal.v1 import documents_pb2
from tenants.actions import quota_update
from tests.factories import TESTER, make_service
from tests.support.history import (
    activated,
    asked,
    claimed,
    completed,
    expired,
    heard_of,
    held,
    made_version,
    place,
    refreshed,
    report,
    seen,
    unfinished_version,
)
from tests.support.history import report_all_ready as all_ready
from tests.support.paper_node import PaperNode
from versions import actions, routes, selectors
from versions.actions import Claim
from versions.models import Activation, Build, Node, Replica, Version
from versions.routes.messages import route_message
from versions.states import PLACED
from workers import doorbell, pipeline, reports, sweep

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = "2020-01-01T00:00:00+00:00"


@pytest.fixture
def broker(valkey, monkeypatch) -> Iterator[None]:
    monkeypatch.setitem(current_app.conf, "broker_url", valkey.url)
    monkeypatch.setitem(current_app.conf, "broker_write_url", valkey.url)
    return


@pytest.fixture
def rung(broker, valkey):
    """Reads, and takes away, the ids of builds that were rung for."""

    def take() -> list[int]:
        messages = valkey.client().lrange("builds", 0, -1)
        valkey.client().delete("builds")
        return sorted(json.loads(json.loads(each)["headers"]["argsrepr"])[0] for each in messages)

    return take


def serves(valkey, gateway: str, generation: int) -> None:
    stamp = documents_pb2.Stamp(epoch=1, generation=generation)
    message = documents_pb2.GatewayReport(gateway=gateway, serving={"films/movies": stamp})
    valkey.client().set(f"recall:gateway:{gateway}", message.SerializeToString())


def test_it_rings_for_builds_that_nobody_took_that_wake_and_whose_worker_died(
    films, films_service, books_service, rung
):
    quota_update(actor=TESTER, tenant=films, builds_at_once_max=3)
    forgotten, waking, dead, busy = (
        asked(films_service),
        asked(films_service),
        asked(films_service),
        asked(books_service),
    )
    Build.objects.filter(pk=forgotten.pk).update(requested_at=LONG_AGO)
    claim = claimed(waking)
    actions.step_start(claim, "activate")
    actions.build_wait(claim, "activate", seconds=0, detail="", context={})
    claimed(dead)
    expired(dead)
    claimed(busy)
    asked(books_service)
    rung()
    sweep.due_builds()
    assert rung() == [forgotten.pk, waking.pk, dead.pk]


def test_one_tenants_many_builds_do_not_stand_before_anothers(
    films, books, films_service, books_service, rung, monkeypatch
):
    monkeypatch.setattr(sweep, "ROWS_MAX", 4)
    quota_update(actor=TESTER, tenant=books, builds_at_once_max=1)
    busy = asked(books_service)
    claimed(busy)
    crowd = [asked(films_service) for _ in range(6)]
    full = [asked(books_service) for _ in range(3)]
    Build.objects.filter(state="PENDING").update(requested_at=LONG_AGO)
    rung()
    sweep.due_builds()
    assert rung() == [each.pk for each in crowd[:4]], "books has no room, films is rung for in order"
    expired(busy)
    sweep.due_builds()
    assert rung() == [busy.pk], "a build whose worker died comes first, whatever waits"
    actions.build_succeed(Claim(busy.pk, fence=1))
    sweep.due_builds()
    assert rung() == [each.pk for each in full[:2]], "the tenants take turns"


def test_a_worker_that_was_rung_for_one_tenants_crowd_begins_another_tenants_build_first(
    films, films_service, books_service, folders
):
    """Messages come in the order in which they were sent; two of films run, and its third comes before books' first."""
    quota_update(actor=TESTER, tenant=films, builds_at_once_max=4)
    crowd = [asked(films_service) for _ in range(6)]
    for each in crowd[:2]:
        claimed(each)
    first_of_books = asked(books_service)
    pipeline.run(crowd[2].pk)
    assert [Build.objects.get(pk=each.pk).state for each in (crowd[2], first_of_books)] == ["PENDING", "FAILED"]
    pipeline.run(crowd[2].pk)
    assert Build.objects.get(pk=crowd[2].pk).state == "FAILED", "nobody else waits: there is no drop, and it says so"


def test_whose_turn_it_is_follows_what_runs_and_not_who_asked_most(films, books, films_service, books_service):
    quota_update(actor=TESTER, tenant=films, builds_at_once_max=4)
    crowd = [asked(films_service) for _ in range(6)]
    claimed(crowd[0])
    novels = [asked(books_service) for _ in range(3)]
    waiting = [each.pk for each in selectors.pending_in_turn()]
    assert waiting[:4] == [novels[0].pk, crowd[1].pk, novels[1].pk, crowd[2].pk]
    assert selectors.in_turn_for(crowd[1].pk) == novels[0].pk
    assert selectors.in_turn_for(novels[2].pk) == novels[2].pk, "among a tenant's own the message decides"
    claimed(novels[0])
    assert selectors.in_turn_for(crowd[5].pk) == crowd[5].pk, "both have one running"
    claimed(novels[1])
    assert selectors.in_turn_for(novels[2].pk) == crowd[1].pk, "books has no room left, films has"
    assert selectors.in_turn_for(404) == 404


def test_it_does_not_ring_again_at_every_tick(films_service, rung):
    build = asked(films_service)
    Build.objects.filter(pk=build.pk).update(requested_at=LONG_AGO)
    rung()
    for _ in range(3):
        sweep.due_builds()
    assert rung() == [build.pk]


def test_nothing_of_it_stops_when_redis_is_away(films_service, settings, caplog):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    activated(made_version(films_service))
    activated(made_version(films_service))
    activated(made_version(films_service))
    actions.version_retire(version=selectors.version_get(films_service, 1))
    Build.objects.update(state="PENDING", requested_at=LONG_AGO)
    for tick in (sweep.due_builds, sweep.collect_reports, sweep.reconcile_documents, sweep.retire_versions):
        tick()
    assert caplog.text.count("Redis is away") >= 3
    assert selectors.version_get(films_service, 1).state == "RETIRING"


def test_an_activation_is_complete_when_gateways_serve_it_and_names_those_that_do_not(films_service, valkey):
    activated(made_version(films_service))
    generation = Activation.objects.get().route_generation
    serves(valkey, "g1", generation - 1)
    sweep.collect_reports()
    assert Activation.objects.get().state == "PENDING"
    Activation.objects.update(at=LONG_AGO)
    sweep.collect_reports()
    assert (Activation.objects.get().state, Activation.objects.get().laggards) == ("LAGGING", ["g1"])
    serves(valkey, "g1", generation)
    sweep.collect_reports()
    assert Activation.objects.get().state == "COMPLETE"


def test_an_emptied_redis_is_filled_again(films_service, valkey):
    activated(made_version(films_service))
    valkey.client().flushall()
    sweep.reconcile_documents()
    route = documents_pb2.Route.FromString(valkey.client().hget(ROUTES.docs_key, "films/movies") or b"")
    assert [version.version for version in route.versions] == [1]


def test_a_retired_version_is_unloaded_only_after_gateways_left_it_and_a_drain(films_service, valkey, settings):
    old = activated(made_version(films_service))
    activated(made_version(films_service))
    activated(made_version(films_service))
    actions.version_retire(version=old)
    service = refreshed(films_service)
    newest = service.route_generation + service.tenant.route_generation
    serves(valkey, "g1", newest - 1)
    state = lambda: Version.objects.values_list("state", "unrouted_at").get(pk=old.pk)  # noqa: E731

    sweep.retire_versions()
    assert state() == ("RETIRING", None)
    serves(valkey, "g1", newest)
    sweep.retire_versions()
    assert state()[1] is not None
    sweep.retire_versions()
    assert Replica.objects.get(version=old).state == "READY"
    settings.RETIRE_DRAIN_SECONDS = 0
    sweep.retire_versions()
    assert Replica.objects.get(version=old).state == "WITHDRAWN"
    sweep.retire_versions()
    assert state()[0] == "RETIRING"
    settings.RETIRE_FILES_SECONDS = 0
    sweep.retire_versions()
    assert state()[0] == "RETIRED"
    assert Replica.objects.get(version__number=2).state == "READY"


def test_a_gateway_that_never_follows_does_not_keep_a_version_for_ever(films_service, valkey):
    old = activated(made_version(films_service))
    activated(made_version(films_service))
    activated(made_version(films_service))
    actions.version_retire(version=old)
    serves(valkey, "g1", 0)
    sweep.retire_versions()
    assert Version.objects.get(pk=old.pk).unrouted_at is None
    Version.objects.filter(pk=old.pk).update(retiring_at=LONG_AGO)
    sweep.retire_versions()
    assert Version.objects.get(pk=old.pk).unrouted_at is not None


def test_what_a_deleted_service_leaves_is_cleared_away(films_service, valkey):
    activated(made_version(films_service))
    waiting, running = asked(films_service), asked(films_service)
    claim = claimed(running)
    place(claim, completed(claim))
    all_ready()
    service_delete(actor=TESTER, service=films_service)

    sweep.close_deleted_services()

    waiting.refresh_from_db()
    running.refresh_from_db()
    assert (waiting.state, running.state, running.cancel_requested_at is None) == ("CANCELLED", "RUNNING", False)
    assert actions.lease_renew(claim) is True
    assert [version.state for version in selectors.versions_of(films_service)] == ["RETIRING", "RETIRING"]


def test_a_held_build_of_a_deleted_service_ends_though_it_was_to_be_cancelled_before(films_service, valkey):
    """As it was left when a worker could still hold what it had not heard was to be cancelled."""
    build = held(asked(films_service))
    Build.objects.filter(pk=build.pk).update(cancel_requested_at=LONG_AGO)
    service_delete(actor=TESTER, service=films_service)
    sweep.close_deleted_services()
    build.refresh_from_db()
    assert build.state == "CANCELLED"


def test_a_worker_that_is_to_end_a_build_of_a_deleted_service_is_asked_once(films_service, valkey):
    claimed(asked(films_service))
    service_delete(actor=TESTER, service=films_service)
    for _ in range(2):
        sweep.close_deleted_services()
    assert AuditEvent.objects.filter(verb="build.cancel").count() == 1


def test_a_live_version_whose_node_is_lost_is_loaded_on_another(films_service, valkey):
    version = activated(made_version(films_service))
    made_version(films_service)
    other = heard_of("other")
    placed = lambda: list(version.replicas.order_by("pk").values_list("node__name", "state"))  # noqa: E731
    sweep.replenish_versions()
    assert placed() == [("local", "READY")]
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    for _ in range(2):
        sweep.replenish_versions()
        assert placed() == [("local", "READY"), ("other", "WANTED")]
    assert [replica.version for replica in other.replicas.all()] == [version]


def test_what_a_rollback_goes_to_is_loaded_on_another_node_after_what_is_live(films_service, valkey):
    target, live = (activated(made_version(films_service)) for _ in range(2))
    other = heard_of("other")
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    for _ in range(2):
        sweep.replenish_versions()
    assert list(other.replicas.order_by("pk").values_list("version", flat=True)) == [live.pk, target.pk]
    all_ready("other")
    proven("other", "check", "warm")
    assert actions.version_rollback(actor=TESTER, service=films_service).loading == ""


def proven(node: str, *kinds: str, ok: bool = True) -> None:
    """The node carries out these orders of its new replicas, and the sweeper hears of it."""
    sweep.join_replicas()
    placed = list(Replica.objects.filter(node__name=node, state__in=PLACED))
    told = {"ok": ok, "error": "" if ok else "0.500 of the known neighbours were found"}
    report(node, *(seen(each, results={f"join-{each.pk}-{kind}": told for kind in kinds}) for each in placed))
    sweep.join_replicas()


def asked_by_gateways(service) -> list[str]:
    route = route_message(refreshed(service), Stamp(1, 1))
    return [replica.node for version in route.versions for replica in version.replicas]


@pytest.mark.parametrize("kinds", [("check",), ("check", "warm")])
def test_a_replica_on_a_new_node_is_asked_by_nobody_before_it_has_proved_its_answers(films, valkey, kinds):
    """With another one that serves, not before it is warm either."""
    service = make_service(films, replicas={"count": 2})
    claim, version = unfinished_version(service)
    place(claim, version, "lost")
    all_ready("lost")
    actions.build_succeed(claim)
    activated(version)
    heard_of("other")
    Node.objects.filter(name="lost").update(seen_at=LONG_AGO)
    sweep.replenish_versions()
    all_ready("other")
    assert asked_by_gateways(service) == ["local", "lost"]
    sweep.replenish_versions()
    assert version.replicas.count() == 3, "it counts as loaded meanwhile"
    proven("other", *kinds)
    joined = version.replicas.get(node__name="other")
    assert joined.withheld == ("warm" not in kinds)
    assert ("other" in asked_by_gateways(service)) == ("warm" in kinds)
    assert (joined.orders == []) == ("warm" in kinds)


def test_where_nothing_else_serves_it_answers_as_soon_as_it_answers_rightly(films_service, valkey):
    activated(made_version(films_service))
    heard_of("other")
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    sweep.replenish_versions()
    all_ready("other")
    proven("other", "check")
    assert asked_by_gateways(films_service) == ["local", "other"]


def test_one_that_answers_wrongly_there_is_sick_and_never_asked(films_service, valkey):
    version = activated(made_version(films_service))
    heard_of("other")
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    sweep.replenish_versions()
    all_ready("other")
    proven("other", "check", ok=False)
    joined = version.replicas.get(node__name="other")
    assert (joined.sick_reason, joined.withheld, asked_by_gateways(films_service)) == ("WRONG", True, ["local"])
    assert Alert.objects.get().reason == "replica.wrong"


def test_for_want_of_room_the_way_back_is_told_and_what_is_live_goes_first(films_service, valkey):
    for _ in range(2):
        activated(made_version(films_service))
    other = heard_of("other")
    Node.objects.filter(pk=other.pk).update(memory_available_bytes=200 * 10**6)
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    sweep.replenish_versions()
    assert [replica.version.number for replica in other.replicas.all()] == [2]
    alert = Alert.objects.get()
    assert (alert.subject, alert.severity) == ("version 1", "warning")
    assert alert.message.startswith("Version 1 is not loaded, and a rollback goes to it: 1 replicas are lost.")


@pytest.mark.parametrize("why", ["cold", "bad", "older"])
def test_what_no_rollback_needs_hot_is_not_loaded_elsewhere(films, valkey, why):
    service = make_service(films, versions={"standby": "cold" if why == "cold" else "hot"})
    lost, _ = (activated(made_version(service)) for _ in range(2))
    heard_of("other")
    if why == "bad":
        Version.objects.filter(pk=lost.pk).update(bad_at=LONG_AGO)
    if why == "older":
        activated(made_version(service))
    Replica.objects.exclude(version=lost).update(node=heard_of("third"))
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    sweep.replenish_versions()
    assert lost.replicas.count() == 1


def test_a_lost_replica_is_loaded_only_where_it_fits_and_an_alert_says_what_is_missing(films_service, valkey):
    version = activated(made_version(films_service))
    other = heard_of("other")
    Node.objects.filter(pk=other.pk).update(memory_available_bytes=100 * 10**6)
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    for _ in range(2):
        sweep.replenish_versions()
    assert [replica.state for replica in version.replicas.all()] == ["READY"]
    assert refreshed(films_service).live_version == 1
    alert = Alert.objects.get()
    assert (alert.reason, alert.subject, alert.severity, alert.state) == (
        "replica.no_room",
        "version 1",
        "critical",
        "OPEN",
    )
    assert alert.message == (
        "Version 1 does not answer: 1 replicas are lost. A replica of version 1 needs 136 MB of memory; on other "
        "100 MB are free for it. Add a node or memory; as soon as it fits it is loaded there by itself."
    )
    Node.objects.filter(pk=other.pk).update(memory_available_bytes=10**9)
    sweep.replenish_versions()
    assert version.replicas.get(node=other).state == "WANTED"
    sweep.replenish_versions()
    assert Alert.objects.get().state == "RESOLVED"


def test_of_two_lost_replicas_the_second_does_not_fit_where_the_first_is_about_to_be_loaded(films, valkey):
    """200 MB are free, and each needs 136."""
    versions = [activated(made_version(make_service(films, name))) for name in ("one", "two")]
    other = heard_of("other")
    Node.objects.filter(pk=other.pk).update(memory_available_bytes=200 * 10**6)
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    for _ in range(2):
        sweep.replenish_versions()
    assert [replica.version for replica in other.replicas.all()] == versions[:1]
    assert Alert.objects.get().service == versions[1].service


def test_after_an_outage_no_node_is_taken_for_lost_before_its_turn_to_be_read_has_come(
    films_service, valkey, monkeypatch
):
    monkeypatch.setattr(reports, "NODES_MAX", 1)
    version = activated(made_version(films_service))
    with PaperNode(valkey, "another"), PaperNode(valkey, "local"):
        until(lambda: len(routes.reporting_nodes()) == 2)
        Node.objects.update(seen_at=LONG_AGO)
        sweep.replenish_versions()
        assert Node.objects.get(name="local").seen_at.year == 2020, "it was another's turn"
        assert version.replicas.count() == 1


def test_nodes_are_read_in_turn_and_by_one_worker_at_a_time(valkey, monkeypatch):
    monkeypatch.setattr(reports, "NODES_MAX", 2)
    names = ["a", "b", "c"]
    with contextlib.ExitStack() as nodes:
        for name in names:
            nodes.enter_context(PaperNode(valkey, name))
        with doorbell.alone("reports", seconds_max=10):
            assert sorted(reports.collect()) == names
        assert not Node.objects.exists(), "another worker is at it"
        reports.collect()
        assert list(Node.objects.order_by("pk").values_list("name", flat=True)) == ["a", "b"]
        reports.collect()
        assert list(Node.objects.order_by("pk").values_list("name", flat=True)) == ["a", "b", "c"]


def until(true) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")


def test_a_live_version_that_its_only_node_cannot_load_any_more_is_left_to_its_agent(films_service, valkey):
    version = activated(made_version(films_service))
    version.replicas.update(state="FAILED")
    sweep.replenish_versions()
    assert [replica.state for replica in version.replicas.all()] == ["FAILED"]


def test_while_redis_is_away_nothing_is_loaded_elsewhere(films_service, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    version = activated(made_version(films_service))
    heard_of("other")
    Node.objects.filter(name="local").update(seen_at=LONG_AGO)
    sweep.replenish_versions()
    assert version.replicas.count() == 1


def test_reports_reach_the_rows_without_a_build(films_service, valkey):
    activated(made_version(films_service))
    sweep.reconcile_documents()
    with PaperNode(valkey) as node:
        node.load_error = "died five times in a minute"
        while not node.placed:
            pass
        for _ in range(100):
            sweep.collect_reports()
            if Replica.objects.get().state == "FAILED":
                break
    assert Replica.objects.get().error == "died five times in a minute"
