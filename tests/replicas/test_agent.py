"""The agent as a process, with real replicas, sockets and Valkey. The tests share one node; each has its replica."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from recallpb.internal.v1 import documents_pb2, replica_pb2, replica_pb2_grpc
from recallpb.v1 import recall_pb2
from replicas.agent import EXIT_LOCKED
from replicas.framing import frames_path
from replicas.identity import start_ticks
from tests.support.artifacts import MadeArtifact, exact_ids, make_artifact
from tests.support.nodes import QUICK, Node, Report, running_node
from tests.support.replica_hosts import running_host
from tests.support.valkey import running_valkey

pytestmark = pytest.mark.servers

WARM, CHECK = documents_pb2.Order.WARM, documents_pb2.Order.CHECK


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeArtifact:
    return make_artifact(tmp_path_factory.mktemp("made"), items=300, version=4)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_valkey() as valkey, running_node(tmp_path_factory.mktemp("node") / "home", valkey) as node:
        yield node


@pytest.fixture
def before(node: Node, made: MadeArtifact) -> documents_pb2.ReplicaReport:
    """A replica `r1` that is ready, as the node reports it before the test does anything."""
    node.place("r1", made)
    return node.wait_until_ready("r1")


def first_answer(address: str, made: MadeArtifact) -> list[int]:
    vector = recall_pb2.Vector(packed=made.queries[0].tobytes())
    request = recall_pb2.RecallRequest(vectors=recall_pb2.VectorQuery(vectors=[vector]), top_k=5)
    batch = replica_pb2.AnswerRequest(requests=[request.SerializeToString()], version=made.version)
    with grpc.insecure_channel(address) as channel:
        answer = replica_pb2_grpc.ReplicaServiceStub(channel).Answer(batch, timeout=10).answers[0]
    return list(recall_pb2.RecallResponse.FromString(answer.response).ids)


def damage(made: MadeArtifact) -> None:
    path = made.path / "vectors.npy"
    payload = bytearray(path.read_bytes())
    payload[-1] ^= 0x40
    path.write_bytes(payload)


def test_a_placed_replica_is_loaded_and_answers(node: Node, made: MadeArtifact, before: Report) -> None:
    assert before.address == f"unix:{node.run_dir}/r1.sock"
    assert (before.version, before.items, before.respawns, before.error) == (4, 300, 0, "")
    assert before.rss_bytes > 2**20
    assert b"glibc.malloc.hugetlb=1" in Path(f"/proc/{before.pid}/environ").read_bytes()
    assert first_answer(before.address, made) == exact_ids(made, made.queries[0], 5)[0]
    whole = node.node_report()
    assert whole is not None
    assert node.agent is not None
    assert (whole.agent_pid, whole.placements_stamp.generation) == (node.agent.pid, node.generation)


def test_orders_are_executed_once_and_reported_until_withdrawn(node: Node, made: MadeArtifact, before: Report) -> None:
    warm, check = documents_pb2.Order(order_id="o1", kind=WARM), documents_pb2.Order(order_id="o2", kind=CHECK)
    node.place("r1", made, warm, check)

    report = node.wait_for("r1", lambda report: len(report.orders) == 2)
    warmed, checked = report.orders
    assert (warmed.order_id, warmed.ok) == ("o1", True)
    assert warmed.queries > 0
    assert (checked.order_id, checked.ok, checked.agreement, checked.version) == ("o2", True, 1.0, 4)

    node.place("r1", made, check, documents_pb2.Order(order_id="o3"))
    report = node.wait_for("r1", lambda report: [each.order_id for each in report.orders] == ["o2", "o3"])
    assert report.orders[0] == checked
    assert not report.orders[1].ok
    assert "UNIMPLEMENTED" in report.orders[1].error


def test_two_replicas_of_a_node_are_compared_from_outside(node: Node, made: MadeArtifact, tmp_path: Path) -> None:
    """The other version has the first half of the items, so that about half of each answer is in both."""
    live = make_artifact(tmp_path, items=150, version=5)
    node.place("r1", made)
    node.place("r7", live)
    for name in ("r1", "r7"):
        node.wait_until_ready(name)
    compare = {"kind": documents_pb2.Order.COMPARE, "beside": "r7", "top_k": 10}
    good = documents_pb2.Order(order_id="o1", beside_version=5, **compare)
    stale = documents_pb2.Order(order_id="o2", beside_version=6, **compare)
    node.place("r1", made, good, stale)

    report = node.wait_for("r1", lambda report: len(report.orders) == 2)
    node.withdraw("r7")
    found, refused = report.orders
    assert (found.ok, found.error, found.version, found.beside_version) == (True, "", 4, 5)
    assert found.queries == len(made.queries)
    assert found.timed > 0
    common = [
        len(set(exact_ids(made, query, 10)[0]) & set(exact_ids(live, query, 10)[0])) / 10 for query in made.queries
    ]
    assert found.overlap == pytest.approx(np.mean(common))
    means = [np.mean([exact_ids(one, query, 10)[1].mean() for query in made.queries]) for one in (made, live)]
    assert [found.mean_score, found.beside_mean_score] == pytest.approx(means, rel=1e-4)
    assert 0 < found.p50_ms <= found.p99_ms
    assert 0 < found.beside_p50_ms <= found.beside_p99_ms
    assert (refused.ok, refused.error) == (False, "the live version did not answer: FAILED_PRECONDITION")


def test_a_killed_replica_comes_back_at_the_same_address(node: Node, made: MadeArtifact, before: Report) -> None:
    os.kill(before.pid, signal.SIGKILL)

    after = node.wait_for("r1", lambda report: report.state == Report.READY and report.pid != before.pid)
    assert after.address == before.address
    assert after.respawns == before.respawns + 1
    assert first_answer(after.address, made) == exact_ids(made, made.queries[0], 5)[0]


def test_a_frozen_replica_is_replaced_and_its_order_is_executed_by_the_next(
    node: Node, made: MadeArtifact, before: Report
) -> None:
    os.kill(before.pid, signal.SIGSTOP)
    node.place("r1", made, documents_pb2.Order(order_id="o9", kind=CHECK))

    after = node.wait_for("r1", lambda report: report.pid != before.pid and len(report.orders) == 1)
    assert start_ticks(before.pid) is None
    assert "killed because it did not answer 3 times" in (node.home / "agent.log").read_text()
    assert (after.orders[0].order_id, after.orders[0].ok) == ("o9", True)
    assert first_answer(after.address, made)


def test_a_replica_without_a_door_for_gateways_is_replaced(node: Node, made: MadeArtifact, before: Report) -> None:
    """As one of an older release, adopted: it answers the agent, and no gateway can ask it."""
    os.unlink(frames_path(before.address))

    after = node.wait_for("r1", lambda report: report.state == Report.READY and report.pid != before.pid)
    assert start_ticks(before.pid) is None
    assert "greets_nobody" in (node.home / "agent.log").read_text()
    assert Path(frames_path(after.address)).is_socket()


def test_a_ready_replica_is_audited_and_its_health_is_reported(node: Node, made: MadeArtifact, before: Report) -> None:
    health = node.wait_for("r1", lambda report: report.health.right_in_a_row >= 5).health

    assert (health.agreement, health.version, health.items, health.error) == (1.0, 4, 300, "")
    assert 0 < health.sustained_p99_ms <= health.p99_ms
    assert (health.wrong_in_a_row, health.silent_in_a_row) == (0, 0)


def test_a_replica_is_restarted_by_order_once_and_then_carries_out_what_stands_behind_it(
    node: Node, made: MadeArtifact, before: Report
) -> None:
    orders = [
        documents_pb2.Order(order_id="c1", kind=documents_pb2.Order.RESTART),
        documents_pb2.Order(order_id="c2", kind=WARM),
        documents_pb2.Order(order_id="c3", kind=CHECK),
    ]
    node.place("r1", made, *orders)

    after = node.wait_for("r1", lambda report: len(report.orders) == 3)
    assert [(result.order_id, result.ok) for result in after.orders] == [("c1", True), ("c2", True), ("c3", True)]
    assert (after.state, after.respawns) == (Report.READY, before.respawns + 1)
    assert start_ticks(before.pid) is None
    node.place("r1", made, *orders, documents_pb2.Order(order_id="c4", kind=CHECK))
    assert node.wait_for("r1", lambda report: len(report.orders) == 4).pid == after.pid


def test_losing_redis_withdraws_nothing(node: Node, made: MadeArtifact, before: Report) -> None:
    node.valkey.kill()
    time.sleep(1.2)
    assert first_answer(before.address, made)
    node.valkey.start()

    after = node.wait_until_ready("r1")
    assert after.pid == before.pid
    node.publish()
    node.wait_for("r1", lambda _: node.stamp_acted_upon() == node.generation)
    assert node.report("r1").pid == before.pid


def test_a_new_agent_adopts_what_runs_even_when_redis_is_empty(node: Node, made: MadeArtifact, before: Report) -> None:
    node.end_agent(signal.SIGKILL)
    node.valkey.client().flushall()
    node.start_agent()

    after = node.wait_until_ready("r1")
    assert (after.pid, after.address, after.respawns) == (before.pid, before.address, 0)
    assert first_answer(after.address, made)

    os.kill(after.pid, signal.SIGKILL)
    node.wait_for("r1", lambda report: report.state == Report.READY and report.pid != before.pid)


def test_a_replica_that_dies_again_and_again_is_failed_and_still_tried(
    node: Node, made: MadeArtifact, before: Report
) -> None:
    for _ in range(int(QUICK["RECALL_RESPAWN_DEATHS_MAX"])):
        os.kill(node.wait_until_ready("r1").pid, signal.SIGKILL)
        dead = node.wait_for("r1", lambda report: report.state in (Report.RESPAWNING, Report.FAILED))

    assert dead.state == Report.FAILED
    assert dead.error == "the process was killed by signal 9"
    assert dead.address == before.address
    assert first_answer(node.wait_until_ready("r1").address, made)


def test_a_damaged_artifact_is_reported_and_never_served(node: Node, tmp_path: Path) -> None:
    """Once damaged while its replica runs, once before any process was started for it."""
    made = make_artifact(tmp_path)
    node.place("r2", made)
    before = node.wait_until_ready("r2")
    damage(made)
    os.kill(before.pid, signal.SIGKILL)
    node.place("r3", made)

    for replica_id in ("r2", "r3"):
        report = node.wait_for(replica_id, lambda report: report.state == Report.FAILED)
        assert report.error.startswith("artifact.checksum_mismatch")
        assert report.pid == 0
    assert not list(node.run_dir.glob("r3.*"))
    assert not (node.run_dir / "r2.sock").exists()

    node.withdraw("r2")
    node.withdraw("r3")
    node.wait_for("r3", lambda report: report.replica_id == "")


def test_a_replica_placed_with_another_artifact_is_replaced_and_one_withdrawn_leaves_nothing(
    node: Node, made: MadeArtifact, tmp_path: Path
) -> None:
    node.place("r4", made)
    first = node.wait_until_ready("r4")

    node.place("r4", make_artifact(tmp_path, items=50, version=5))
    second = node.wait_for("r4", lambda report: report.state == Report.READY and report.version == 5)
    assert second.items == 50
    assert start_ticks(first.pid) is None

    node.withdraw("r4")
    node.wait_for("r4", lambda report: report.replica_id == "" and not list(node.run_dir.glob("r4.*")))
    assert start_ticks(second.pid) is None


def test_a_withdrawn_replica_is_told_to_be_leaving_until_its_process_has_ended(node: Node, made: MadeArtifact) -> None:
    node.place("r5", made)
    pid = node.wait_until_ready("r5").pid
    os.kill(pid, signal.SIGSTOP)
    node.withdraw("r5")
    node.wait_for("r5", lambda report: report.replica_id == "")
    told = node.node_report()
    assert told is not None
    assert (list(told.leaving), start_ticks(pid) is not None) == (["r5"], True)
    os.kill(pid, signal.SIGCONT)
    node.wait_for("r5", lambda _: list((node.node_report() or told).leaving) == [])
    assert start_ticks(pid) is None


def test_one_node_has_one_agent(node: Node) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "replicas.agent"], env=node.environment, timeout=30, check=False, capture_output=True
    )

    assert second.returncode == EXIT_LOCKED


def test_replicas_outlive_their_agent_until_they_are_told_to_stop(
    node: Node, made: MadeArtifact, before: Report
) -> None:
    assert node.end_agent() == 0
    assert first_answer(before.address, made)

    node.stop_replicas()
    assert start_ticks(before.pid) is None
    assert not list(node.run_dir.iterdir())


def test_orphans_are_stopped_only_by_their_own_node_and_only_when_it_knows_what_is_wanted(
    tmp_path: Path, made: MadeArtifact
) -> None:
    with (
        running_host(made, replica_id="r90", RECALL_NODE="local") as orphan,
        running_host(made, replica_id="r91", RECALL_NODE="elsewhere") as stranger,
        running_valkey() as valkey,
    ):
        node = Node(tmp_path / "home", orphan.folder, valkey)
        os.link(stranger.identity_path.with_suffix(".lock"), orphan.folder / "r91.lock")
        node.start_agent()
        try:
            time.sleep(2)
            assert orphan.identity.alive()

            node.publish()
            orphan.process.wait(timeout=20)
            assert stranger.identity.alive()
        finally:
            node.end_agent()
