"""A gateway with everything real around it: Valkey, route documents, replicas on unix sockets, gRPC callers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.rpc import error_details_pb2, status_pb2

from documents.store import ROUTES, DocumentWriter, Stamp
from gateway.server import Gateway
from gateway.settings import Settings
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2, recall_pb2_grpc
from tests.support.exact_replica import ExactReplica
from tests.support.valkey import Valkey

PEPPER = b"pepper-of-the-tests"
INTERNAL_TOKEN = b"internal-token-of-the-tests"
DIMENSION = 8
ALICES_KEY = "rk_alice000_" + "a" * 32
CHARLIES_KEY = "rk_charlie0_" + "c" * 32
FILMS = "tenants/films/services/movies"
BOOKS = "tenants/books/services/novels"
WAIT_SECONDS_MAX = 15.0


def key(text: str, *, scope: str = "read", service: str = "", expires_at: int = 0) -> documents_pb2.Key:
    digest = hmac.digest(PEPPER, text.encode(), hashlib.sha256)
    return documents_pb2.Key(
        prefix=text[3:11], digest=digest, scope=scope, service=service, expires_at_seconds=expires_at
    )


def limits(**changes: Any) -> recall_pb2.Limits:
    values: dict[str, Any] = {"qps": 0, "concurrency": 0, "max_top_k": 100, "max_ef": 500, "allow_exact": False}
    return recall_pb2.Limits(**(values | changes))


def route_version(number: int, *addresses: str, model_version: str = "") -> documents_pb2.RouteVersion:
    return documents_pb2.RouteVersion(
        version=number,
        model_version=model_version or f"model-{number}",
        items=100,
        searchable_items=90,
        schema=recall_pb2.Schema(
            id_type="int64",
            dimension=DIMENSION,
            metric="ip",
            attributes=[recall_pb2.Attribute(name="genre", type="string")],
        ),
        replicas=[
            documents_pb2.RouteReplica(replica_id=f"r{number}-{place}", address=address, node="local")
            for place, address in enumerate(addresses)
        ],
    )


def route(
    *versions: documents_pb2.RouteVersion,
    name: str = FILMS,
    keys: tuple[documents_pb2.Key, ...] | None = None,
    **changes: Any,
) -> documents_pb2.Route:
    _, tenant, _, service = name.split("/")
    owner = ALICES_KEY if tenant == "films" else CHARLIES_KEY
    values: dict[str, Any] = {"limits": limits()} | changes
    return documents_pb2.Route(
        tenant=tenant, service=service, versions=versions, keys=(key(owner),) if keys is None else keys, **values
    )


def packed(vector: np.ndarray[Any, Any]) -> recall_pb2.Vector:
    return recall_pb2.Vector(packed=np.asarray(vector, dtype="<f4").tobytes())


def query(service: str = FILMS, *, top_k: int = 5, vector: Any = None, **fields: Any) -> recall_pb2.RecallRequest:
    vector = np.ones(DIMENSION) if vector is None else vector
    vectors = recall_pb2.VectorQuery(vectors=[packed(vector)])
    return recall_pb2.RecallRequest(service=service, vectors=vectors, top_k=top_k, **fields)


class Refused(Exception):
    """A call's error as a caller sees it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(f"{error.code()}: {error.details()}")
        self.code = error.code()
        self.details = error.details()
        trailers: Mapping[str, Any] = dict(error.trailing_metadata() or ())
        self.raw_status: bytes = trailers.get("grpc-status-details-bin", b"")
        self.status = status_pb2.Status.FromString(self.raw_status)
        self.reason = self._detail(error_details_pb2.ErrorInfo()).reason
        self.domain = self._detail(error_details_pb2.ErrorInfo()).domain
        self.metadata = dict(self._detail(error_details_pb2.ErrorInfo()).metadata)
        self.fields = [v.field for v in self._detail(error_details_pb2.BadRequest()).field_violations]
        self.retry_seconds = self._detail(error_details_pb2.RetryInfo()).retry_delay.ToMicroseconds() / 1e6

    def _detail(self, kind: Any) -> Any:
        for detail in self.status.details:
            detail.Unpack(kind)
        return kind


class Caller:
    """A gRPC client with one key, or none."""

    def __init__(self, port: int, credential: str) -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = recall_pb2_grpc.RecallServiceStub(self.channel)
        self._metadata = (("authorization", f"Bearer {credential}"),) if credential else ()

    async def call(self, rpc: str, request: Any, *, seconds: float | None = 10.0) -> Any:
        try:
            return await getattr(self._stub, rpc)(request, timeout=seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise Refused(error) from error

    async def recall(self, request: recall_pb2.RecallRequest | None = None, **options: Any) -> Any:
        return await self.call("Recall", request or query(), **options)


class Harness:
    """One test's gateway and what surrounds it."""

    def __init__(self, valkey: Valkey) -> None:
        self.valkey = valkey
        self.home = Path(tempfile.mkdtemp(prefix="rg-", dir="/tmp"))
        self.gateway: Gateway | None = None
        self.port = 0
        self._generation = 0
        self._running: asyncio.Task[None] | None = None
        self._cleanups: list[Callable[[], Awaitable[Any]]] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    # What stands behind the gateway.

    def socket(self, name: str) -> str:
        return f"unix:{self.home}/{name}.sock"

    async def replica(self, name: str = "r1", version: int = 1) -> ExactReplica:
        replica = ExactReplica(address=self.socket(name), replica_id=name, version=version, dimension=DIMENSION)
        await replica.start()
        self._cleanups.append(replica.stop)
        return replica

    def replica_process(self, name: str, version: int, load_seconds: float = 0.0) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.support.exact_replica", "--address", self.socket(name)]
        command += ["--replica-id", name, "--version", str(version), "--load-seconds", str(load_seconds)]
        return self._spawn(command)

    def publish(self, document: documents_pb2.Route, *, epoch: int = 1, generation: int = 0) -> Stamp:
        """Writes a route as the control plane does, newer than all before it."""
        self._generation = generation or self._generation + 1
        stamp = Stamp(epoch, self._generation)
        document.stamp.CopyFrom(stamp.to_message())
        field = f"{document.tenant}/{document.service}"
        with self.valkey.client() as client:
            DocumentWriter(client).put_if_newer(ROUTES, field, stamp, document.SerializeToString())
        return stamp

    def lease(self) -> documents_pb2.GatewayReport | None:
        with self.valkey.client() as client:
            reports = DocumentWriter(client).gateway_reports()
        return next(iter(reports.values()), None)

    # The gateway itself.

    def environment(self) -> dict[str, Any]:
        return {
            "home": self.home,
            "gateway_port": 0,
            "redis_url": self.valkey.url,
            "key_pepper": PEPPER.decode(),
            "internal_token": INTERNAL_TOKEN.decode(),
            "console_url": "http://127.0.0.1:9",
            "gateway_drain_seconds": 0.5,
            "gateway_drain_notice_seconds": 0,
        }

    async def start(self, **changes: Any) -> Gateway:
        """In this loop."""
        gateway = self.gateway = Gateway(Settings(**(self.environment() | changes)))
        self._running = asyncio.create_task(gateway.run())
        await self.until(lambda: self._running_file().exists() or self._broke())
        self.port = int(json.loads(self._running_file().read_text())["address"].rpartition(":")[2])
        return gateway

    async def stop(self) -> None:
        if self.gateway and self._running:
            self.gateway.stop()
            await self._running
            self.gateway = self._running = None

    async def start_process(self, **changes: Any) -> subprocess.Popen[bytes]:
        """As `python -m gateway`."""
        values = self.environment() | changes
        environment = os.environ | {f"RECALL_{name.upper()}": str(value) for name, value in values.items()}
        self._running_file().unlink(missing_ok=True)
        process = self._spawn([sys.executable, "-m", "gateway"], environment)
        await self.until(lambda: self._running_file().exists())
        self.port = int(json.loads(self._running_file().read_text())["address"].rpartition(":")[2])
        return process

    def caller(self, credential: str = ALICES_KEY) -> Caller:
        caller = Caller(self.port, credential)
        self._cleanups.append(lambda: caller.channel.close(None))
        return caller

    def run_file(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self._running_file().read_text())
        return facts

    async def until(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + WAIT_SECONDS_MAX
        while not condition():
            assert time.monotonic() < until, "it did not happen"
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        for cleanup in reversed(self._cleanups):
            await cleanup()
        await self.stop()
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.home)

    def _spawn(self, command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=environment)
        self.processes.append(process)
        return process

    def _running_file(self) -> Path:
        return self.home / "run" / "gateway-0.json"

    def _broke(self) -> bool:
        if self._running and self._running.done():
            self._running.result()
        return False


async def refusal(call: Awaitable[Any]) -> Refused:
    """The error of a call that must fail."""
    try:
        answer = await call
    except Refused as refused:
        return refused
    raise AssertionError(f"it was answered: {answer}")
