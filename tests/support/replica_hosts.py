"""Real replica host processes for tests, on unix sockets in a short folder of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from recallpb.internal.v1 import replica_pb2_grpc
from replicas.identity import Identity, read
from tests.support.artifacts import MadeArtifact

READY_SECONDS_MAX = 60.0


@dataclass
class Host:
    """A replica host process that is ready. `stub` speaks to it."""

    process: subprocess.Popen[bytes]
    address: str
    identity_path: Path
    log_path: Path
    channel: grpc.Channel

    @property
    def stub(self) -> replica_pb2_grpc.ReplicaServiceStub:
        return replica_pb2_grpc.ReplicaServiceStub(self.channel)

    @property
    def folder(self) -> Path:
        return self.identity_path.parent

    @property
    def identity(self) -> Identity:
        identity = read(self.identity_path)
        assert identity is not None
        return identity


def host_command(made: MadeArtifact, folder: Path, replica_id: str, sha256: str = "") -> list[str]:
    return [
        *(sys.executable, "-m", "replicas.host", "--replica-id", replica_id, "--artifact", str(made.path)),
        *("--manifest-sha256", sha256 or made.manifest_sha256),
        *("--address", f"unix:{folder}/{replica_id}.sock", "--identity", str(folder / f"{replica_id}.json")),
    ]


@contextlib.contextmanager
def running_host(made: MadeArtifact, *, replica_id: str = "r1", **environment: str) -> Iterator[Host]:
    """A host process for the artifact; it is killed at the end if it still runs."""
    with tempfile.TemporaryDirectory(prefix="recall-host-") as name:
        folder = Path(name)
        log_path = folder / "host.log"
        env = {**os.environ, "RECALL_HOME": name, **environment}
        with log_path.open("wb") as log:
            process = subprocess.Popen(host_command(made, folder, replica_id), env=env, stderr=log, stdout=log)
        address = f"unix:{folder}/{replica_id}.sock"
        channel = grpc.insecure_channel(address)
        host = Host(process, address, folder / f"{replica_id}.json", log_path, channel)
        try:
            _wait_until_ready(host)
            yield host
        finally:
            channel.close()
            process.kill()
            process.wait()


def _wait_until_ready(host: Host) -> None:
    give_up_at = time.monotonic() + READY_SECONDS_MAX
    while not host.identity_path.exists():
        assert host.process.poll() is None, host.log_path.read_text()
        assert time.monotonic() < give_up_at, host.log_path.read_text()
        time.sleep(0.02)
