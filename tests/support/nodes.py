"""A node for tests: a real agent process, its own RECALL_HOME, and the documents that tell it what to run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import redis

from documents.store import PLACEMENTS, DocumentWriter, Stamp
from recallpb.internal.v1 import documents_pb2
from replicas.settings import AgentSettings
from tests.support.artifacts import MadeArtifact
from tests.support.valkey import Valkey

WAIT_SECONDS_MAX = 40.0
POLL_SECONDS = 0.02
# Everything that takes its time in production takes less here.
QUICK = {
    "RECALL_DESCRIBE_EVERY_SECONDS": "0.1",
    "RECALL_DESCRIBE_SECONDS_MAX": "0.5",
    "RECALL_AUDIT_EVERY_SECONDS": "0.2",
    "RECALL_STOP_SECONDS_MAX": "5",
    "RECALL_RESPAWN_SECONDS_MAX": "2",
    "RECALL_RESPAWN_DEATHS_MAX": "3",
    "RECALL_REDIS_SECONDS_MAX": "0.5",
    "RECALL_SEARCH_THREADS": "1",
}

Report = documents_pb2.ReplicaReport


class Node:
    """One node. `place` and `withdraw` publish a new Placements document each."""

    def __init__(
        self, home: Path, run_dir: Path, valkey: Valkey, name: str = "local", more: Mapping[str, str] | None = None
    ) -> None:
        self.home, self.run_dir, self.valkey, self.name = home, run_dir, valkey, name
        self._more = dict(more or {})
        self.placements: dict[str, documents_pb2.Placement] = {}
        self.generation = 0
        self.agent: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            "RECALL_HOME": str(self.home),
            "RECALL_RUN_DIR": str(self.run_dir),
            "RECALL_NODE": self.name,
            "RECALL_REDIS_URL": self.valkey.url,
        }
        return {**os.environ, **QUICK, **ours, **self._more}

    @property
    def settings(self) -> AgentSettings:
        return AgentSettings(home=self.home, run_dir=self.run_dir, node=self.name)

    def start_agent(self) -> None:
        self.home.mkdir(exist_ok=True)
        with (self.home / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "replicas.agent"], env=self.environment, stdout=log, stderr=log
            )

    def end_agent(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        return self.agent.wait(timeout=WAIT_SECONDS_MAX)

    def stop_replicas(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "replicas.agent", "--stop-replicas"],
            env=self.environment,
            check=True,
            timeout=WAIT_SECONDS_MAX,
        )

    def place(self, replica_id: str, made: MadeArtifact, *orders: documents_pb2.Order, sha256: str = "") -> None:
        self.placements[replica_id] = documents_pb2.Placement(
            replica_id=replica_id,
            tenant="films",
            service="similar",
            version=made.version,
            artifact=str(made.path),
            manifest_sha256=sha256 or made.manifest_sha256,
            orders=orders,
        )
        self.publish()

    def withdraw(self, replica_id: str) -> None:
        del self.placements[replica_id]
        self.publish()

    def publish(self) -> None:
        self.generation += 1
        stamp = Stamp(1, self.generation)
        document = documents_pb2.Placements(
            node=self.name, stamp=stamp.to_message(), placements=self.placements.values()
        )
        writer = DocumentWriter(self.valkey.client())
        assert writer.put_if_newer(PLACEMENTS, self.name, stamp, document.SerializeToString())

    def node_report(self) -> documents_pb2.NodeReport | None:
        with contextlib.suppress(redis.RedisError):
            return DocumentWriter(self.valkey.client()).node_reports([self.name]).get(self.name)
        return None

    def stamp_acted_upon(self) -> int:
        """The generation of the document that the agent follows; 0 while it says nothing."""
        report = self.node_report()
        return report.placements_stamp.generation if report else 0

    def report(self, replica_id: str) -> documents_pb2.ReplicaReport:
        """What the node says of the replica; empty when it says nothing."""
        report = self.node_report() or documents_pb2.NodeReport()
        return next((each for each in report.replicas if each.replica_id == replica_id), Report())

    def wait_for(self, replica_id: str, true: Callable[[documents_pb2.ReplicaReport], bool]) -> Report:
        """The first report of the replica for which `true` holds."""
        report = Report()
        give_up_at = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < give_up_at:
            report = self.report(replica_id)
            if true(report):
                return report
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"the last report was {report}; the agent said:\n{(self.home / 'agent.log').read_text()}")

    def wait_until_ready(self, replica_id: str) -> documents_pb2.ReplicaReport:
        return self.wait_for(replica_id, lambda report: report.state == Report.READY)


@contextlib.contextmanager
def running_node(home: Path, valkey: Valkey, name: str = "local", **environment: str) -> Iterator[Node]:
    """A node with a running agent; agent and replicas are stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="recall-run-") as run_dir:
        node = Node(home, Path(run_dir), valkey, name, environment)
        node.start_agent()
        try:
            yield node
        finally:
            if node.agent and node.agent.poll() is None:
                node.end_agent()
            node.stop_replicas()
