"""What nodes report becomes rows: changes, not heartbeats."""

from __future__ import annotations

import pytest

from audit.models import AuditEvent
from tests.support.history import (
    activated,
    asked,
    claimed,
    completed,
    heard_of,
    made_version,
    place,
    refreshed,
    report,
    seen,
)
from versions import actions, selectors
from versions.models import Node, Replica
from versions.selectors import node_view, replica_view

pytestmark = pytest.mark.django_db


@pytest.fixture
def replica(films_service):
    """Of a READY version that was never live; wanted on the node `local`, which has not answered yet."""
    claim = claimed(asked(films_service))
    version = completed(claim)
    return place(claim, version)


def again(replica):
    return Replica.objects.select_related("version", "node").get(pk=replica.pk)


def test_a_node_is_known_from_its_first_report():
    actions.node_report(actions_seen("n1"))
    node = Node.objects.get(name="n1")
    assert node_view(node)["memory_available_bytes"] == 8 * 2**30
    assert [each.name for each in selectors.fresh_nodes()] == ["n1"]


def actions_seen(name):
    from versions.seen import NodeSeen

    return NodeSeen(name=name, cpu_count=2, memory_total_bytes=16 * 2**30, memory_available_bytes=8 * 2**30)


def test_a_node_that_was_not_heard_lately_gets_nothing_new():
    heard_of("n1")
    Node.objects.update(seen_at="2020-01-01T00:00:00+00:00")
    assert list(selectors.fresh_nodes()) == []
    actions.node_report(actions_seen("n1"))
    assert len(selectors.fresh_nodes()) == 1


def test_the_node_with_most_free_memory_comes_first():
    for name, memory in (("small", 2**30), ("big", 2**34)):
        heard_of(name)
        Node.objects.filter(name=name).update(memory_available_bytes=memory)
    assert [node.name for node in selectors.fresh_nodes()] == ["big", "small"]


def test_a_replica_that_answers_is_ready_under_its_address(replica):
    report("local", seen(replica, "LOADING"))
    assert again(replica).state == "LOADING"
    report("local", seen(replica, rss_bytes=2**20))
    view = replica_view(again(replica))
    assert (view["state"], view["address"], view["version"], view["node"]) == (
        "READY",
        f"unix:/run/r{replica.pk}.sock",
        1,
        "local",
    )


def test_an_unchanged_report_writes_nothing(replica, django_assert_num_queries):
    report("local", seen(replica))
    report("local", seen(replica))
    before = again(replica).changed_at, refreshed(replica.version.service).route_generation
    report("local", seen(replica, rss_bytes=10))
    changed = again(replica).changed_at
    report("local", seen(replica, rss_bytes=10))
    assert changed > before[0]
    assert (again(replica).changed_at, refreshed(replica.version.service).route_generation) == (changed, before[1])


def test_a_respawning_replica_keeps_its_address_and_gateways_hear_nothing(films_service):
    version = activated(made_version(films_service))
    replica = version.replicas.get()
    generation = refreshed(films_service).route_generation
    report("local", seen(replica, "LOADING", respawns=1))
    found = again(replica)
    assert (found.state, found.address, found.respawns) == ("LOADING", replica.address, 1)
    assert refreshed(films_service).route_generation == generation


def test_gateways_hear_of_a_new_address_and_of_a_replica_that_failed(films_service):
    replica = activated(made_version(films_service)).replicas.get()
    generation = refreshed(films_service).route_generation
    report("local", seen(replica, address="unix:/run/elsewhere.sock"))
    assert refreshed(films_service).route_generation == generation + 1
    report("local", seen(replica, "FAILED", error="died five times in a minute"))
    assert refreshed(films_service).route_generation == generation + 2
    assert again(replica).error == "died five times in a minute"


def test_a_missing_report_withdraws_nothing(films_service):
    replica = activated(made_version(films_service)).replicas.get()
    generation = refreshed(films_service).route_generation
    report("local")
    assert again(replica).state == "READY"
    assert refreshed(films_service).route_generation == generation


def test_a_withdrawn_replica_is_gone_when_a_current_report_lacks_it(films_service):
    version = made_version(films_service)
    replica = version.replicas.get()
    before = Node.objects.get(name="local").placements_generation
    assert actions.version_unload(version=version) == 1
    assert Node.objects.get(name="local").placements_generation == before + 1
    report("local", placements=(1, before))
    assert again(replica).state == "WITHDRAWN"
    report("local", seen(replica))
    assert again(replica).state == "WITHDRAWN"
    report("local")
    assert again(replica).state == "GONE"
    assert actions.version_unload(version=version) == 0


def test_a_withdrawn_replica_whose_process_has_not_ended_yet_is_not_gone(films_service):
    version = made_version(films_service)
    replica = version.replicas.get()
    actions.version_unload(version=version)
    report("local", leaving=[replica])
    assert again(replica).state == "WITHDRAWN"
    report("local")
    assert again(replica).state == "GONE"


def test_a_report_from_before_it_was_placed_again_says_nothing_of_a_replica(films_service):
    claim = claimed(asked(films_service))
    version = completed(claim)
    replica = place(claim, version)
    stale = seen(replica, results={"v1-warm-1": {"ok": True}})
    before = Node.objects.get(name="local").placements_generation
    report("local", stale)
    actions.replica_drop(claim, replica=again(replica))
    place(claim, version)
    report("local", stale, placements=(1, before))
    assert (again(replica).state, again(replica).results) == ("WANTED", {})
    report("local", seen(replica))
    assert again(replica).state == "READY"


def test_a_replica_of_another_node_is_none_of_this_nodes_business(replica):
    heard_of("n2")
    report("n2", seen(replica))
    assert again(replica).state == "WANTED"


def test_results_of_orders_are_kept_and_orders_given_once(films_service):
    build = asked(films_service)
    claim = claimed(build)
    version = completed(claim)
    replica = place(claim, version)
    report("local", seen(replica))
    generation = Node.objects.get(name="local").placements_generation
    for _ in range(2):
        actions.orders_give(claim, version=version, kind="WARM", order_id="v1-warm-1")
    assert again(replica).orders == [{"order_id": "v1-warm-1", "kind": "WARM"}]
    assert Node.objects.get(name="local").placements_generation == generation + 1
    report("local", seen(replica, results={"v1-warm-1": {"ok": True, "p99_ms": 1.5}}))
    actions.orders_withdraw(claim, version=version)
    report("local", seen(replica))
    found = again(replica)
    assert (found.orders, found.results["v1-warm-1"]["p99_ms"]) == ([], 1.5)


def test_placing_again_what_was_withdrawn_begins_anew(films_service):
    claim = claimed(asked(films_service))
    version = completed(claim)
    replica = place(claim, version)
    report("local", seen(replica, results={"v1-check": {"ok": True}}))
    actions.replica_drop(claim, replica=again(replica))
    place(claim, version)
    found = again(replica)
    assert (found.state, found.address, found.results) == ("WANTED", "", {})
    before = Node.objects.get(name="local").placements_generation
    place(claim, version)
    assert Node.objects.get(name="local").placements_generation == before


def test_a_latency_is_recorded_once_and_only_before_activation(films_service):
    claim = claimed(asked(films_service))
    version = completed(claim)
    actions.version_measured(claim, version=version, p99_ms=1.5)
    actions.version_measured(claim, version=version, p99_ms=9.9)
    assert selectors.version_get(films_service, 1).p99_ms == 1.5


def test_a_complete_version_is_audited(films_service):
    completed(claimed(asked(films_service)))
    assert AuditEvent.objects.get(verb="version.complete").target == "version 1"
