"""From a published artifact to retirement; the node is on paper, and no child is needed."""

from __future__ import annotations

import time

import pytest

from catalog.actions import service_hold, service_release
from documents.store import ROUTES
from recallpb.internal.v1 import documents_pb2
from tests.factories import TESTER, make_service
from tests.support.history import asked, claimed, completed, heard_of, made_version, refreshed
from tests.support.paper_node import PaperNode
from tests.workers.conftest import finish, published
from versions import actions, selectors
from versions.models import Activation, Build, Node, Replica, Version
from versions.outlook import release_outlook
from versions.views import build_view, service_view
from workers import context, lease, pipeline, sweep
from workers.steps import activate, place_replicas

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
LONG_AGO = "2020-01-01T00:00:00+00:00"


def test_another_node_is_tried_when_one_cannot_load(films_service, node, valkey):
    with PaperNode(valkey, "alpha") as broken:
        broken.load_error = "cannot map the file"
        build = finish(published(films_service))
    assert build.state == "SUCCEEDED", build.error_message
    states = dict(Replica.objects.values_list("node__name", "state"))
    assert (states["local"], states["alpha"] in ("WITHDRAWN", "GONE")) == ("READY", True)


def test_a_service_may_want_several_replicas(films, node, valkey):
    service = make_service(films, replicas={"count": 2})
    with PaperNode(valkey, "second"):
        assert finish(published(service)).state == "SUCCEEDED"
    assert list(Replica.objects.filter(state="READY").values_list("node__name", flat=True).order_by("node__name")) == [
        "local",
        "second",
    ]


def test_a_node_that_is_not_there_is_waited_for_without_keeping_a_worker(films_service, valkey, monkeypatch):
    build = published(films_service)
    pipeline.run(build.pk)
    build.refresh_from_db()
    assert (build.state, build.lease_until, build.wake_at is None) == ("RUNNING", None, False)
    step = build.steps.get(name="place_replicas")
    assert (step.state, step.detail) == ("RUNNING", "1 of 1 replicas have no node yet.")
    monkeypatch.setattr(place_replicas, "NODE_WAIT_SECONDS_MAX", 0)
    build = finish(build)
    assert (build.state, build.error_reason) == ("FAILED", "replica.no_node")


def test_a_replica_that_answers_wrongly_fails_the_build_and_live_stays(films_service, node):
    finish(published(films_service))
    node.check_error = "0.500 of the known neighbours were found"
    build = finish(published(films_service))
    assert (build.error_reason, build.error_owner) == ("replica.wrong_answer", "platform")
    assert (refreshed(films_service).live_version, selectors.version_get(films_service, 2).state) == (1, "FAILED")


def test_a_version_slower_than_live_is_held_after_some_rounds_and_passes_by_override(films_service, valkey):
    with PaperNode(valkey, p99_ms=(4.0, 9.0, 8.0, 7.0)) as node:
        finish(published(films_service))
        build = finish(published(films_service))
        assert (build.state, build.error_reason) == ("HELD", "guard.max_p99_ratio")
        rounds = [f"v2-{order}" for number in (1, 2, 3) for order in (f"warm-{number}", f"compare-{number}-v1")]
        assert node.executed[-6:] == rounds
        evidence = build.report["held"]["evidence"][0]
        assert (evidence["value"], evidence["limit"], evidence["what"]) == (7.0, 6.0, "p99")
        actions.build_override(actor=TESTER, build=build, reason="The machine was busy.")
        assert finish(build).state == "SUCCEEDED"
    assert selectors.version_get(films_service, 2).p99_ms == 7.0


def test_under_the_floor_any_p99_passes(films_service, valkey):
    with PaperNode(valkey, p99_ms=(0.1, 4.9)):
        finish(published(films_service))
        assert finish(published(films_service)).state == "SUCCEEDED"


def test_a_held_build_gives_its_memory_back_and_is_loaded_again_by_an_override(films_service, valkey):
    with PaperNode(valkey, p99_ms=(4.0, 9.0)) as node:
        finish(published(films_service))
        build = finish(published(films_service))
        sweep.tend_held_builds()
        assert Replica.objects.get(version__number=2).state == "READY"
        build.steps.filter(state="HELD").update(ended_at=sweep.ago(sweep.HELD_LOADED_SECONDS))
        sweep.tend_held_builds()
        assert Replica.objects.get(version__number=2).state == "WITHDRAWN"
        actions.build_override(actor=TESTER, build=build, reason="The machine was busy.")
        assert finish(build).state == "SUCCEEDED"
        assert node.placed == [1, 2]
    assert refreshed(films_service).live_version == 2


def test_a_build_that_nobody_decides_on_ends(films_service, valkey):
    with PaperNode(valkey, p99_ms=(4.0, 9.0)):
        finish(published(films_service))
        build = finish(published(films_service))
    build.steps.filter(state="HELD").update(ended_at=LONG_AGO)
    sweep.tend_held_builds()
    build.refresh_from_db()
    assert (build.state, build.error_reason) == ("CANCELLED", "build.expired")
    assert selectors.version_get(films_service, 2).state == "FAILED"


def test_on_a_held_service_a_build_waits_before_the_switch_and_goes_on_when_it_is_released(films_service, node):
    service_hold(actor=TESTER, service=films_service, reason="We look into it.")
    build = finish(published(films_service))
    assert (build.state, build.error_reason) == ("HELD", "activate.service_held")
    assert build.error_message == "The service is on hold: We look into it. Release it, or override."
    assert "recall service release movies" in build_view(build)["error"]["next_step"]
    sweep.tend_held_builds()
    assert Build.objects.get(pk=build.pk).state == "HELD"
    service_release(actor=TESTER, service=refreshed(films_service))
    sweep.tend_held_builds()
    assert finish(build).state == "SUCCEEDED"
    assert refreshed(films_service).live_version == 1


def test_after_a_rollback_the_next_drop_does_not_go_live_by_itself(films_service, node):
    finish(published(films_service))
    finish(published(films_service))
    actions.version_rollback(actor=TESTER, service=films_service, from_version=2, reason="bad ids")
    build = finish(published(films_service))
    assert (build.state, build.error_reason) == ("HELD", "activate.service_held")
    assert "version 2: bad ids. Release it, or override." in build.error_message
    assert refreshed(films_service).live_version == 1
    actions.version_activate(actor=TESTER, service=films_service, number=3)
    assert finish(build).state == "SUCCEEDED"


def test_a_version_whose_only_replica_respawns_is_waited_for(films_service, node):
    build = published(films_service)
    node.respawn_after = "v1-check"
    pipeline.run(build.pk)
    build.refresh_from_db()
    assert (build.state, build.steps.get(name="activate").state) == ("RUNNING", "RUNNING")
    assert "loaded on no node" in build.steps.get(name="activate").detail
    node.respawn_after = ""
    time.sleep(0.2)
    sweep.collect_reports()
    assert finish(build).state == "SUCCEEDED"


def test_only_the_time_of_refusals_counts_until_a_switch_is_given_up(films_service, node, monkeypatch):
    """Before the first refusal the step may have waited for a comparison, for longer than a replica may respawn."""
    build = published(films_service)
    node.respawn_after = "v1-check"
    pipeline.run(build.pk)
    build.steps.filter(name="activate").update(started_at=LONG_AGO)
    ring(build)
    assert (build.state, build.steps.get(name="activate").state) == ("RUNNING", "RUNNING"), build.error_message
    monkeypatch.setattr(activate, "SERVABLE_SECONDS_MAX", 0)
    build = finish(build)
    assert (build.state, build.error_reason) == ("FAILED", "activate.refused")


def test_a_build_does_not_undo_a_rollback_from_its_own_version(films_service, node):
    finish(published(films_service))
    build = finish(published(films_service))
    actions.version_rollback(actor=TESTER, service=films_service, from_version=2)
    Build.objects.filter(pk=build.pk).update(state="RUNNING", wake_at=LONG_AGO)
    build.steps.filter(name="activate").update(state="RUNNING")
    assert finish(build).state == "SUCCEEDED"
    assert refreshed(films_service).live_version == 1


def test_an_overtaken_build_does_not_go_back_by_itself(films_service, node):
    slow, quick = published(films_service), published(films_service)
    finish(quick)
    slow = finish(slow)
    assert (slow.state, slow.error_reason) == ("HELD", "activate.newer_is_live")
    assert refreshed(films_service).live_version == 2


def test_when_live_moved_meanwhile_the_guards_run_again(films_service, node):
    finish(published(films_service))
    finish(published(films_service))
    build = published(films_service, items=60)
    type(films_service.versions.get(number=2)).objects.filter(number=2).update(items=600)
    actions.version_activate(actor=TESTER, service=films_service, number=1)
    actions.version_activate(actor=TESTER, service=films_service, number=2)
    build = finish(build)
    assert (build.state, build.error_reason) == ("HELD", "guard.max_drop_percent")
    assert build.report["held"]["evidence"][0]["value"] == 90.0
    actions.build_override(actor=TESTER, build=build, reason="The catalogue was cleaned up.")
    assert finish(build).state == "SUCCEEDED"


def test_a_cancel_that_the_worker_has_not_heard_of_yet_stops_the_switch(films_service, node, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60.0)
    build = published(films_service)
    Build.objects.filter(pk=build.pk).update(cancel_requested_at=LONG_AGO, error_message="Cancelled by tests.")
    build = finish(build)
    assert (build.state, build.error_reason) == ("CANCELLED", "build.cancelled")
    assert build.steps.get(name="activate").state == "CANCELLED"
    assert (refreshed(films_service).live_version, selectors.version_get(films_service, 1).state) == (None, "FAILED")


def test_an_override_lets_pass_what_its_operator_saw_and_nothing_that_comes_later(films_service, node):
    finish(published(films_service))
    service_hold(actor=TESTER, service=films_service, reason="We look into it.")
    build = finish(published(films_service, items=60))
    assert build.error_reason == "activate.service_held"
    actions.build_override(actor=TESTER, build=build, reason="It is urgent.")
    newer = made_version(films_service)
    actions.version_activate(actor=TESTER, service=films_service, number=newer.number)
    build = finish(build)
    assert (build.state, build.error_reason, refreshed(films_service).live_version) == (
        "HELD",
        "activate.newer_is_live",
        3,
    )
    actions.build_override(actor=TESTER, build=build, reason="The newer one is wrong.")
    build = finish(build)
    assert (build.error_reason, refreshed(films_service).live_version) == ("guard.max_drop_percent", 3)
    actions.build_override(actor=TESTER, build=build, reason="The drop is smaller.")
    assert finish(build).state == "SUCCEEDED"
    assert Activation.objects.order_by("-pk").first().reason == (
        "It is urgent. The newer one is wrong. The drop is smaller."
    )


def test_a_retry_warms_its_own_version_from_the_first_round(films_service, valkey):
    with PaperNode(valkey, p99_ms=(4.0, 9.0, 9.0, 5.0)) as node:
        finish(published(films_service))
        node.check_error = "0.500 of the known neighbours were found"
        build = finish(published(films_service))
        assert (build.error_reason, build.report["warm"]["rounds"]) == ("replica.wrong_answer", 3)
        node.check_error = ""
        build = finish(retried_from_publication(build))
    assert (build.state, build.version_number, build.report["warm"]["rounds"]) == ("SUCCEEDED", 3, 1)


def test_a_retry_tries_the_nodes_again_that_could_not_load_what_it_made_before(films_service, valkey, monkeypatch):
    monkeypatch.setattr(context, "POLL_SECONDS_MAX", 0.3)
    with PaperNode(valkey, "alpha") as alpha:
        alpha.load_error = "cannot map the file"
        build = published(films_service)
        heard_of("local")  # It takes the version and never says that it has loaded it.
        Node.objects.filter(name="local").update(memory_available_bytes=2**32)  # Less than the other one has.
        for _ in range(3):
            Build.objects.filter(pk=build.pk).update(wake_at=LONG_AGO)
            pipeline.run(build.pk)
        assert dict(Replica.objects.values_list("node__name", "state"))["local"] == "WANTED"
        Build.objects.filter(pk=build.pk).update(wake_at=LONG_AGO)
        claim = actions.build_claim(build.pk, owner="worker-1")
        actions.build_fail(claim, reason="replica.load_timeout", owner="platform", message="Not within 1,800 s.")
        alpha.load_error = ""
        build = finish(retried_from_publication(build))
    assert (build.state, build.report["placed"]) == ("SUCCEEDED", ["alpha"])


def rolled_back(service):
    """Two drops went live, and the second one was left; returns its build."""
    finish(published(service))
    left = finish(published(service))
    actions.version_rollback(actor=TESTER, service=service, reason="half the ids are gone")
    return left


def same_drop_again(service, left):
    """A build by force, or of a delivery, of the drop that was left; as far as its published artifact."""
    again = published(service)
    same = {"drop_name": left.drop_name, "drop_fingerprint": left.drop_fingerprint}
    Build.objects.filter(pk=again.pk).update(**same)
    return again


def test_a_drop_that_was_rolled_back_does_not_come_back_by_itself_when_the_service_is_released(films_service, node):
    left = rolled_back(films_service)
    again = finish(same_drop_again(films_service, left))
    assert again.error_reason == "activate.service_held"
    assert service_view(refreshed(films_service))["held"]["on_release"] == (
        f"Build 3 (drop {left.drop_name}), which waits only for this, stays held: its drop made version 2, which was "
        "rolled back."
    )
    service_release(actor=TESTER, service=films_service)
    sweep.tend_held_builds()
    again = finish(again)
    assert (again.state, again.error_reason) == ("HELD", "activate.bad_drop")
    assert "made version 2, which was rolled back: half the ids are gone." in again.error_message
    actions.build_override(actor=TESTER, build=again, reason="It was the caller's mistake.")
    assert (finish(again).state, refreshed(films_service).live_version) == ("SUCCEEDED", 3)


def test_a_drop_that_went_live_again_after_it_was_rolled_back_is_not_bad_any_more(films_service, node):
    left = rolled_back(films_service)
    service_release(actor=TESTER, service=films_service)
    overridden = finish(same_drop_again(films_service, left))
    actions.build_override(actor=TESTER, build=overridden, reason="It was the caller's mistake.")
    finish(overridden)
    assert refreshed(films_service).live_version == 3
    assert finish(same_drop_again(films_service, left)).state == "SUCCEEDED"
    finish(published(films_service))
    beside_another = finish(same_drop_again(films_service, left))
    assert (beside_another.state, refreshed(films_service).live_version) == ("SUCCEEDED", 6)
    actions.version_rollback(actor=TESTER, service=films_service, reason="half the ids are gone after all")
    service_release(actor=TESTER, service=films_service)
    again = finish(same_drop_again(films_service, left))
    assert (again.state, again.error_reason) == ("HELD", "activate.bad_drop")
    assert "made version 6, which was rolled back: half the ids are gone after all." in again.error_message


def test_a_rollback_between_versions_of_one_drop_leaves_a_good_drop(films_service, node):
    first = finish(published(films_service))
    finish(same_drop_again(films_service, first))
    actions.version_rollback(actor=TESTER, service=films_service, reason="its index is slow")
    service_release(actor=TESTER, service=films_service)
    assert finish(same_drop_again(films_service, first)).state == "SUCCEEDED"


def test_a_released_service_takes_the_next_good_drop_and_the_old_one_under_a_corrected_spec(films_service, node):
    left = rolled_back(films_service)
    good = finish(published(films_service))
    assert release_outlook(films_service) == (
        f"Build 3 (drop {good.drop_name}), which waits only for this, goes live by itself."
    )
    service_release(actor=TESTER, service=films_service)
    assert release_outlook(films_service).startswith("Build 3")
    sweep.tend_held_builds()
    assert (finish(good).state, refreshed(films_service).live_version) == ("SUCCEEDED", 3)
    assert release_outlook(films_service).startswith("No build waits for it.")
    looser = same_drop_again(films_service, left)
    guards = {**looser.spec["guards"], "max_drop_percent": 90}
    Build.objects.filter(pk=looser.pk).update(spec_generation=2, spec={**looser.spec, "guards": guards})
    held = finish(looser)
    assert (held.state, held.error_reason) == ("HELD", "activate.bad_drop")
    corrected = same_drop_again(films_service, left)
    search = {**corrected.spec["search"], "recall_target": 0.99}
    Build.objects.filter(pk=corrected.pk).update(spec_generation=3, spec={**corrected.spec, "search": search})
    built = finish(corrected)
    assert (built.state, refreshed(films_service).live_version) == ("SUCCEEDED", built.version_number)


def test_versions_beyond_those_that_stay_are_retired(films_service, node):
    builds = [finish(published(films_service)) for _ in range(3)]
    assert builds[-1].report["retired"] == [1]
    assert [version.state for version in selectors.versions_of(films_service)] == ["READY", "READY", "RETIRING"]


def test_gateways_that_do_not_follow_are_named_and_stop_nothing(films_service, node, valkey):
    lagging = documents_pb2.GatewayReport(gateway="g1")
    valkey.client().set("recall:gateway:g1", lagging.SerializeToString())
    build = finish(published(films_service))
    assert (build.state, build.report["activation"]["laggards"]) == ("SUCCEEDED", ["g1"])
    activation = Activation.objects.get()
    assert (activation.state, activation.laggards) == ("LAGGING", ["g1"])
    stamp = documents_pb2.Stamp(epoch=1, generation=10**6)
    caught_up = documents_pb2.GatewayReport(gateway="g1", serving={"films/movies": stamp})
    valkey.client().set("recall:gateway:g1", caught_up.SerializeToString())
    sweep.collect_reports()
    activation.refresh_from_db()
    assert (activation.state, activation.laggards) == ("COMPLETE", [])


def test_the_route_is_there_as_soon_as_the_build_has_ended(films_service, node, valkey):
    finish(published(films_service))
    route = documents_pb2.Route.FromString(valkey.client().hget(ROUTES.docs_key, "films/movies") or b"")
    assert [version.version for version in route.versions] == [1]


def ring(build: Build) -> None:
    """One ring, as of the sweeper when the build's wake-up is due."""
    Build.objects.filter(pk=build.pk, wake_at__isnull=False).update(wake_at=LONG_AGO)
    pipeline.run(build.pk)
    build.refresh_from_db()


def held_and_unloaded(service) -> Build:
    """A build that was held for its p99 until it had to give its memory back; version 1 is live."""
    finish(published(service))
    build = finish(published(service))
    build.steps.filter(state="HELD").update(ended_at=sweep.ago(sweep.HELD_LOADED_SECONDS))
    sweep.tend_held_builds()
    assert (build.state, Replica.objects.get(version__number=2).state) == ("HELD", "WITHDRAWN")
    return build


def test_a_held_build_that_gave_its_memory_back_is_loaded_again_only_where_it_fits(films_service, valkey):
    """Of the 1.1 GB that are free 5 % of 16 GiB are left to others, and 136 MB to version 1, which is being loaded."""
    with PaperNode(valkey, p99_ms=(4.0, 9.0)) as node:
        build = held_and_unloaded(films_service)
        said(node, memory_available_bytes=1_100 * 10**6)
        actions.build_override(actor=TESTER, build=build, reason="The machine was busy.")
        build = finish(build)
        assert (build.state, build.error_reason) == ("HELD", "admit.memory")
        assert build_view(build)["step"] == "place_replicas"
        assert build.error_message.startswith("A replica of version 2 needs 136 MB of memory; on local 105 MB are free")
        assert "Add a node or memory" in build.error_message
        [evidence] = build.report["held"]["evidence"]
        assert (evidence["name"], evidence["what"]) == ("replica_memory_bytes", "memory on local")
        assert (refreshed(films_service).live_version, Replica.objects.get(version__number=1).state) == (1, "READY")
        said(node, memory_available_bytes=2**33)
        actions.build_override(actor=TESTER, build=build, reason="Now there is room.")
        assert finish(build).state == "SUCCEEDED"
    assert refreshed(films_service).live_version == 2


def test_what_was_promised_to_others_while_a_build_was_held_is_not_free_for_it(films_service, books_service, valkey):
    """1.3 GB are free: two replicas would fit beside what is left alone; 400 MB were promised meanwhile."""
    with PaperNode(valkey, p99_ms=(4.0, 9.0)) as node:
        build = held_and_unloaded(films_service)
        other = claimed(asked(books_service))
        here = {"machine": "elsewhere", "pid": 0, "items": 1, "build_bytes": 0, "disk_bytes": 0, "replicas": 1}
        actions.admission_take(other, since="a", need={**here, "replica_bytes": 400 * 10**6})
        said(node, memory_available_bytes=1_300 * 10**6)
        actions.build_override(actor=TESTER, build=build, reason="The machine was busy.")
        ring(build)
        detail = build.steps.get(name="place_replicas").detail
        assert (build.state, "on local 0 MB are free for it" in detail) == ("RUNNING", True), detail
        actions.build_fail(other, reason="drop.empty", owner="user", message="No items.")
        assert finish(build).state == "SUCCEEDED"


def test_memory_that_comes_back_by_itself_is_waited_for_before_a_version_is_placed(
    films_service, books_service, valkey
):
    with PaperNode(valkey, p99_ms=(4.0, 9.0)) as node:
        build = held_and_unloaded(films_service)
        leaving = made_version(books_service)
        Version.objects.filter(pk=leaving.pk).update(state="RETIRING")
        node.rss_bytes = 10**9
        said(node, memory_available_bytes=900 * 10**6)
        actions.build_override(actor=TESTER, build=build, reason="The machine was busy.")
        ring(build)
        step = build.steps.get(name="place_replicas")
        assert (build.state, step.state, step.detail[:16]) == ("RUNNING", "RUNNING", "Waits for room. ")


def said(node: PaperNode, *, memory_available_bytes: int) -> None:
    """The node says so from now on, and it was heard."""
    node.memory_available_bytes = memory_available_bytes
    for _ in range(200):
        sweep.collect_reports()
        if Node.objects.get(name=node.name).memory_available_bytes == memory_available_bytes:
            return
        time.sleep(0.02)
    raise AssertionError("the node was not heard")


def retried_from_publication(build: Build) -> Build:
    """A retry that has published another version already, without running any child."""
    build = actions.build_retry(actor=TESTER, build=build)
    claim = actions.build_claim(build.pk, owner="worker-1")
    assert claim is not None
    completed(claim, items=60)
    actions.build_wait(claim, "publish_artifact", seconds=0, detail="", context={})
    return build
