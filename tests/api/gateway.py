"""A real gateway process, with a real Valkey and real replicas around it, for tests that are not asynchronous."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from documents.store import ROUTES, DocumentWriter, Stamp
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.replica_hosts import Host, running_host
from tests.support.valkey import Valkey, running_valkey

DIMENSION = 8
ITEMS = 100
HIDDEN = 10
IDS_PER_VERSION = 1_000_000
WAIT_SECONDS_MAX = 30.0


class RunningGateway:
    """`address` is where it listens; `publish` gives it a route for films/movies.

    `replica` holds version 1, which was made of `made`, and `newer` version 2, of other items and another model.
    """

    def __init__(self, home: Path, valkey: Valkey, replicas: list[Host], made: list[MadeArtifact]) -> None:
        self.home = home
        self.valkey = valkey
        self.replica, _ = replicas
        self.made, self.newer = made
        self._versions = {one.version: (host, one) for host, one in zip(replicas, made, strict=True)}
        self.address = ""
        self._generation = 0
        self.process = self._spawn()
        self._wait_until_it_listens()

    def publish(
        self,
        *,
        versions: tuple[int, ...] = (1,),
        qps: float = 0,
        service: str = "movies",
        allow_exact: bool = False,
    ) -> None:
        """The newest route of films/`service`: the first of the versions is live, the next one hot."""
        self._generation += 1
        stamp = Stamp(1, self._generation)
        route = documents_pb2.Route(
            stamp=stamp.to_message(),
            tenant="films",
            service=service,
            versions=[self._version(number) for number in versions],
            limits=recall_pb2.Limits(qps=qps, concurrency=0, max_top_k=50, max_ef=500, allow_exact=allow_exact),
        )
        with self.valkey.client() as client:
            DocumentWriter(client).put_if_newer(ROUTES, f"films/{service}", stamp, route.SerializeToString())
        self._wait_until_it_serves(stamp, f"films/{service}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _version(self, number: int) -> documents_pb2.RouteVersion:
        host, made = self._versions[number]
        return documents_pb2.RouteVersion(
            version=number,
            model_version=made.manifest["model_version"],
            items=ITEMS,
            searchable_items=ITEMS - HIDDEN,
            schema=recall_pb2.Schema(
                id_type="int64",
                dimension=DIMENSION,
                metric="ip",
                attributes=[recall_pb2.Attribute(name="year", type="int64")],
            ),
            replicas=[documents_pb2.RouteReplica(replica_id="r1", address=host.address, node="local")],
        )

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {
            "RECALL_HOME": str(self.home),
            "RECALL_REDIS_URL": self.valkey.url,
            "RECALL_GATEWAY_PORT": "0",
            "RECALL_INTERNAL_TOKEN": settings.INTERNAL_TOKEN,
            "RECALL_KEY_PEPPER": settings.KEY_PEPPER,
            # No control plane answers here; the gateway serves without it.
            "RECALL_CONSOLE_URL": "http://127.0.0.1:9",
        }
        return subprocess.Popen([sys.executable, "-m", "gateway"], env=os.environ | environment)

    def _wait_until_it_listens(self) -> None:
        note = self.home / "run" / "gateway-0.json"
        until = time.monotonic() + WAIT_SECONDS_MAX
        while not note.exists():
            assert time.monotonic() < until, "the gateway did not start"
            assert self.process.poll() is None, "the gateway ended"
            time.sleep(0.02)
        self.address = str(json.loads(note.read_text())["address"])

    def _wait_until_it_serves(self, stamp: Stamp, field: str) -> None:
        until = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < until:
            with self.valkey.client() as client:
                reports = DocumentWriter(client).gateway_reports().values()
            if any(Stamp.of(report.serving[field]) >= stamp for report in reports):
                return
            time.sleep(0.02)
        raise AssertionError("the gateway did not take the route")


@contextlib.contextmanager
def running_gateway() -> Iterator[RunningGateway]:
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recall-api-")))
        valkey = stack.enter_context(running_valkey())
        made = [_make(home, 1, "tower-1"), _make(home, 2, "tower-2")]
        gateway = RunningGateway(home, valkey, [stack.enter_context(running_host(one)) for one in made], made)
        stack.callback(gateway.stop)
        yield gateway


def year_of(row: int) -> int | None:
    """Every fourth item has none."""
    return 1950 + row if row % 4 else None


def _make(folder: Path, version: int, model_version: str) -> MadeArtifact:
    """Items whose ids tell the version: 1,000,000 and more are of version 1, and so on."""
    return make_artifact(
        folder,
        items=ITEMS,
        hidden=HIDDEN,
        dimension=DIMENSION,
        service="movies",
        version=version,
        model_version=model_version,
        first_id=version * IDS_PER_VERSION,
        seed=version,
        attributes={"year": ("int64", [year_of(row) for row in range(ITEMS)])},
    )
