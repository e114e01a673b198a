"""Rows become documents in a real Valkey, each stamped and written only if newer."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from catalog.actions import service_delete, service_update
from documents.store import PLACEMENTS, ROUTES, DocumentWriter, Stamp
from recallpb.internal.v1 import documents_pb2
from tenants.actions import key_create, key_revoke
from tests.factories import TESTER, make_service
from tests.support.history import activated, heard_of, made_version, refreshed, report, report_all_ready, seen
from tests.support.valkey import Valkey
from versions import actions, routes, selectors
from versions.models import Build, Node, PlatformState, Replica
from versions.reconcile import reconcile
from versions.routes.messages import route_message
from versions.states import BuildState

pytestmark = pytest.mark.django_db


def route_of(valkey: Valkey, field: str = "films/movies") -> documents_pb2.Route:
    payload = valkey.client().hget(ROUTES.docs_key, field)
    assert payload is not None, f"no route of {field}"
    return documents_pb2.Route.FromString(payload)


def serving(valkey: Valkey, gateway: str, **fields: int) -> None:
    """A leased gateway that serves `films/movies` at this generation."""
    stamps = {f"films/{name}": documents_pb2.Stamp(epoch=1, generation=value) for name, value in fields.items()}
    message = documents_pb2.GatewayReport(gateway=gateway, serving=stamps)
    valkey.client().set(f"recall:gateway:{gateway}", message.SerializeToString(), ex=60)


def stamp_of(service) -> Stamp:
    service = refreshed(service)
    return Stamp(selectors.platform_epoch(), service.route_generation + service.tenant.route_generation)


@pytest.mark.parametrize("then", ["switched on", "cleared", "cooled", "rolled back", "retired", "deleted"])
def test_what_people_read_and_what_is_audited_is_what_the_route_names(films_service, then):
    """Versions 1 to 3 were live; 4 never was."""
    versions = [activated(made_version(films_service)) for _ in range(3)]
    made_version(films_service)
    happens = {
        "switched on": lambda: None,
        "cleared": lambda: actions.live_clear(actor=TESTER, service=refreshed(films_service), reason="wrong"),
        "cooled": lambda: actions.version_cool(version=versions[1]),
        "rolled back": lambda: actions.version_rollback(actor=TESTER, service=films_service),
        "retired": lambda: actions.version_retire(version=versions[0]),
        "deleted": lambda: service_delete(actor=TESTER, service=refreshed(films_service)),
    }
    happens[then]()
    service = refreshed(films_service)
    route = route_message(service, Stamp(1, 1))
    named = {replica.replica_id for version in route.versions for replica in version.replicas}
    views = [selectors.replica_view(replica) for replica in Replica.objects.all()]
    listed = [selectors.replica_view(replica) for replica in selectors.replicas_of(service)]
    assert {view["id"]: view["routed"] for view in listed} == {view["id"]: view["routed"] for view in views}
    audited = {f"r{replica.pk}" for replica in selectors.audited_replicas()}
    assert {view["id"] for view in views if view["routed"]} == audited == named
    expected = {"switched on": [3, 2, 1], "cooled": [3, 1], "rolled back": [2, 1], "retired": [3, 2]}
    assert [version.version for version in route.versions] == expected.get(then, [])


@pytest.mark.django_db(transaction=True)
def test_a_candidate_that_is_off_its_nodes_leaves_the_route(films_service, valkey):
    activated(made_version(films_service))
    held_version = made_version(films_service)
    Build.objects.filter(pk=held_version.build_id).update(state=BuildState.HELD)
    routes.publish(films_service)
    assert [version.version for version in route_of(valkey).candidates] == [2]
    actions.version_unload_held(version=held_version)
    assert list(route_of(valkey).candidates) == []
    assert Stamp.of(route_of(valkey).stamp) == stamp_of(films_service)


def test_a_route_names_live_first_then_the_hot_previous_one(films_service, valkey):
    activated(made_version(films_service, model_version="mind-6"))
    activated(made_version(films_service, items=120, model_version="mind-7"))
    made_version(films_service)
    assert routes.publish(films_service) is True
    route = route_of(valkey)
    assert (route.tenant, route.service, route.tombstone) == ("films", "movies", False)
    assert [version.version for version in route.candidates] == [3], "for who requires it by its number"
    assert [(v.version, v.model_version, v.items) for v in route.versions] == [(2, "mind-7", 120), (1, "mind-6", 100)]
    live = route.versions[0]
    assert (live.schema.dimension, live.schema.metric, live.searchable_items) == (4, "ip", 120)
    assert (live.replicas[0].address, live.replicas[0].node) == (
        f"unix:/run/{live.replicas[0].replica_id}.sock",
        "local",
    )
    assert (route.limits.qps, route.limits.max_top_k, route.tenant_qps_max) == (1000, 1000, 10_000)
    assert Stamp.of(route.stamp) == stamp_of(films_service)


def test_a_route_tells_what_the_build_measured_of_its_queries(films_service, valkey):
    """A graph at an effort below the top_k that it was measured at, one without any effort, and one of long ago."""
    measured = {"search_ms": 0.25, "at": 100}
    model = {"model": {"ms": 1.5}}
    activated(made_version(films_service, search_params={"ef": 64}, report={"check": measured, **model}))
    routes.publish(films_service)
    cost = route_of(valkey).versions[0].cost
    assert (cost.vector_us, cost.effort, cost.model_us) == (250, 100, 1_500)
    activated(made_version(films_service, report={"check": measured}))
    routes.publish(films_service)
    cost = route_of(valkey).versions[0].cost
    assert (cost.vector_us, cost.effort, cost.model_us) == (250, 0, 0)
    activated(made_version(films_service))
    routes.publish(films_service)
    assert not route_of(valkey).versions[0].HasField("cost")


def test_a_service_without_a_version_has_a_route_without_versions(films_service, valkey):
    routes.publish(films_service)
    assert list(route_of(valkey).versions) == []


def test_a_version_that_was_rolled_back_from_is_not_routed(films_service, valkey):
    activated(made_version(films_service))
    activated(made_version(films_service))
    actions.version_rollback(actor=TESTER, service=films_service)
    routes.publish(films_service)
    assert [version.version for version in route_of(valkey).versions] == [1]
    assert list(route_of(valkey).rolled_back) == [2], "so that who requires it hears why"
    actions.version_activate(actor=TESTER, service=refreshed(films_service), number=2)
    routes.publish(films_service)
    assert [version.version for version in route_of(valkey).versions] == [2, 1]
    assert list(route_of(valkey).rolled_back) == []


def test_the_live_version_stays_in_the_route_when_no_replica_of_it_is_left(films_service, valkey):
    activated(made_version(films_service))
    live = activated(made_version(films_service))
    previous = selectors.version_get(films_service, 1).replicas.get()
    report("local", seen(live.replicas.get(), "FAILED"), seen(previous, "FAILED"))
    routes.publish(films_service)
    assert [(version.version, len(version.replicas)) for version in route_of(valkey).versions] == [(2, 0)]


def test_a_route_carries_the_keys_that_open_it(films, films_service, books, valkey):
    make_service(films, "shows")
    whole = key_create(actor=TESTER, tenant=films, scope="read").key
    own = key_create(actor=TESTER, tenant=films, scope="write", service="movies").key
    key_create(actor=TESTER, tenant=films, scope="read", service="shows")
    key_create(actor=TESTER, tenant=books, scope="manage")
    revoked = key_create(actor=TESTER, tenant=films, scope="read").key
    key_revoke(actor=TESTER, key=revoked)
    later = timezone.now() + timedelta(hours=1)
    lasting = key_create(actor=TESTER, tenant=films, scope="read", expires_at=later).key
    expired = key_create(actor=TESTER, tenant=films, scope="read", expires_at=later).key
    type(expired).objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))

    routes.publish(films_service)

    keys = {key.prefix: key for key in route_of(valkey).keys}
    assert set(keys) == {whole.prefix, own.prefix, lasting.prefix}
    assert keys[own.prefix].digest == bytes.fromhex(own.digest)
    assert (keys[own.prefix].scope, keys[own.prefix].service) == ("write", "movies")
    assert (keys[whole.prefix].expires_at_seconds, keys[lasting.prefix].expires_at_seconds) == (
        0,
        int(later.timestamp()),
    )


def test_stamps_only_rise(films_service, valkey):
    stamps = []
    for change in (
        lambda: activated(made_version(films_service)),
        lambda: service_update(actor=TESTER, service=refreshed(films_service), spec={"limits": {"qps": 5}}),
        lambda: key_create(actor=TESTER, tenant=films_service.tenant, scope="read"),
        lambda: activated(made_version(films_service)),
        lambda: actions.version_rollback(actor=TESTER, service=films_service),
        lambda: actions.version_activate(actor=TESTER, service=films_service, number=2),
        lambda: activated(made_version(films_service)),
        lambda: actions.version_retire(version=selectors.version_get(films_service, 1)),
    ):
        change()
        assert routes.publish(films_service) is True
        assert routes.publish(films_service) is False
        stamps.append(Stamp.of(route_of(valkey).stamp))
    assert stamps == sorted(set(stamps))


def test_an_older_document_never_replaces_a_newer_one(films_service, valkey):
    routes.publish(films_service)
    newer = Stamp(1, stamp_of(films_service).generation + 1)
    writer = DocumentWriter(valkey.client())
    writer.put_if_newer(ROUTES, "films/movies", newer, b"")
    assert routes.publish(films_service) is False


@pytest.mark.django_db(transaction=True)
def test_an_activation_is_published_as_it_commits(films_service, valkey):
    activated(made_version(films_service))
    assert [version.version for version in route_of(valkey).versions] == [1]
    activated(made_version(films_service))
    actions.version_rollback(actor=TESTER, service=films_service, from_version=2)
    route = route_of(valkey)
    assert ([version.version for version in route.versions], Stamp.of(route.stamp)) == ([1], stamp_of(films_service))


@pytest.mark.django_db(transaction=True)
def test_an_activation_stands_and_is_quick_when_redis_is_away(films_service, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    began = time.monotonic()
    activated(made_version(films_service))
    assert refreshed(films_service).live_version == 1
    assert time.monotonic() - began < 10


def test_placements_name_what_a_node_shall_run_and_its_orders(films_service, valkey):
    version = made_version(films_service)
    replica = version.replicas.get()
    type(replica).objects.update(orders=[{"order_id": "v1-warm-1", "kind": "WARM"}])
    routes.publish_placements(Node.objects.get(name="local"))
    document = documents_pb2.Placements.FromString(valkey.client().hget(PLACEMENTS.docs_key, "local") or b"")
    (placement,) = document.placements
    assert (placement.replica_id, placement.tenant, placement.version) == (f"r{replica.pk}", "films", 1)
    assert (placement.artifact, placement.manifest_sha256) == (version.artifact, version.manifest_sha256)
    assert [(order.order_id, order.kind) for order in placement.orders] == [("v1-warm-1", documents_pb2.Order.WARM)]
    actions.version_unload(version=version)
    assert routes.publish_placements(Node.objects.get(name="local")) is True
    document = documents_pb2.Placements.FromString(valkey.client().hget(PLACEMENTS.docs_key, "local") or b"")
    assert list(document.placements) == []


def test_a_node_report_travels_from_redis_to_rows(films_service, valkey):
    replica = made_version(films_service).replicas.get()
    states = documents_pb2.ReplicaReport.State
    message = documents_pb2.NodeReport(
        node="local",
        cpu_count=2,
        placements_stamp=documents_pb2.Stamp(epoch=1, generation=9),
        replicas=[
            documents_pb2.ReplicaReport(
                replica_id=f"r{replica.pk}",
                state=states.RESPAWNING,
                respawns=3,
                orders=[documents_pb2.OrderResult(order_id="o1", ok=True, p99_ms=1.5)],
            ),
            documents_pb2.ReplicaReport(replica_id="stranger", state=states.READY),
        ],
    )
    valkey.client().set("recall:node:local", message.SerializeToString())
    (found,) = routes.node_reports(routes.reporting_nodes())
    assert (found.name, found.placements, len(found.replicas)) == ("local", (1, 9), 1)
    actions.node_report(found)
    replica.refresh_from_db()
    assert (replica.state, replica.respawns, replica.results["o1"]["p99_ms"]) == ("LOADING", 3, 1.5)


def test_an_activation_is_acknowledged_when_every_leased_gateway_serves_it(films_service, valkey):
    activated(made_version(films_service))
    stamp = stamp_of(films_service)
    assert routes.acknowledged(films_service, stamp) == (True, [])
    serving(valkey, "g1", movies=stamp.generation)
    serving(valkey, "g2", movies=stamp.generation - 1)
    serving(valkey, "g3", shows=stamp.generation)
    assert routes.acknowledged(films_service, stamp) == (False, ["g2", "g3"])
    serving(valkey, "g2", movies=stamp.generation + 1)
    valkey.client().delete("recall:gateway:g3")
    assert routes.acknowledged(films_service, stamp) == (True, [])


def test_a_deleted_service_leaves_a_tombstone_until_its_name_has_a_new_owner(films, films_service, valkey):
    routes.publish(films_service)
    service_delete(actor=TESTER, service=films_service)
    assert reconcile().routes == 1
    assert route_of(valkey).tombstone is True
    make_service(films, "movies")
    assert reconcile().routes == 1
    assert route_of(valkey).tombstone is False
    assert reconcile().routes == 0


@pytest.mark.django_db(transaction=True)
def test_what_a_deleted_service_leaves_never_beats_the_next_owner_of_its_name(films, films_service, valkey):
    old = [activated(made_version(films_service)) for _ in range(2)]
    service_delete(actor=TESTER, service=films_service)
    reconcile()
    tombstone = Stamp.of(route_of(valkey).stamp)
    new = make_service(films, "movies")
    reconcile()

    for version in old:
        actions.version_retire(version=version)
        report("local", *(seen(replica, "FAILED") for replica in version.replicas.all()))
    routes.publish(films_service)
    serving(valkey, "g1", movies=stamp_of(new).generation)
    done = reconcile()

    assert (done.routes, done.epoch, route_of(valkey).tombstone) == (0, 1, False)
    assert tombstone == stamp_of(films_service) < Stamp.of(route_of(valkey).stamp) == stamp_of(new)
    assert {version.state for version in selectors.versions_of(films_service)} == {"RETIRING"}
    valkey.client().flushall()
    assert (routes.publish(films_service), routes.publish(new)) == (False, True)


def test_a_replica_of_a_deleted_service_that_fails_leaves_its_tombstone_alone(films_service, valkey):
    version = activated(made_version(films_service))
    service_delete(actor=TESTER, service=films_service)
    before = stamp_of(films_service)
    report("local", seen(version.replicas.get(), "FAILED"))
    assert version.replicas.get().state == "FAILED"
    assert stamp_of(films_service) == before


def test_an_emptied_redis_is_filled_again_from_the_rows(films_service, books_service, valkey):
    activated(made_version(films_service))
    assert reconcile().routes == 2
    before = route_of(valkey).SerializeToString()
    valkey.client().flushall()
    done = reconcile()
    assert (done.routes, done.placements, done.epoch) == (2, 1, 1)
    assert route_of(valkey).SerializeToString() == before
    assert (reconcile().routes, reconcile().placements) == (0, 0)


def test_a_lost_publication_is_made_up_for(films_service, valkey):
    reconcile()
    activated(made_version(films_service))
    assert reconcile().routes == 1
    assert [version.version for version in route_of(valkey).versions] == [1]


def test_a_restored_database_wins_over_documents_made_before(films_service, books_service, valkey):
    activated(made_version(films_service))
    reconcile()
    later = Stamp(1, stamp_of(films_service).generation + 5)
    writer = DocumentWriter(valkey.client())
    writer.put_if_newer(ROUTES, "films/movies", later, documents_pb2.Route(tenant="films").SerializeToString())

    done = reconcile()

    assert (done.epoch, done.routes, PlatformState.objects.get().epoch) == (2, 2, 2)
    assert Stamp.of(route_of(valkey).stamp) == Stamp(2, stamp_of(films_service).generation)
    assert [version.version for version in route_of(valkey).versions] == [1]
    assert reconcile() == type(done)(routes=0, placements=0, epoch=2)


def test_a_gateway_that_serves_a_newer_route_than_the_rows_raises_the_epoch_too(films_service, valkey):
    reconcile()
    serving(valkey, "g1", movies=stamp_of(films_service).generation + 1)
    assert reconcile().epoch == 2


def test_a_stranger_in_redis_is_left_alone(films_service, valkey):
    reconcile()
    DocumentWriter(valkey.client()).put_if_newer(ROUTES, "other/thing", Stamp(1, 7), b"")
    done = reconcile()
    assert (done.routes, done.epoch) == (0, 1)


def test_a_node_that_restarts_with_nothing_is_told_again(films_service, valkey):
    made_version(films_service)
    heard_of("n2")
    assert reconcile().placements == 1
    valkey.client().delete(PLACEMENTS.stamps_key, PLACEMENTS.docs_key)
    assert reconcile().placements == 1
    report_all_ready()
