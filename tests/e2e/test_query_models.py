"""Model and index move together: two drops whose models and items do not fit each other, switched under load.

The second drop is the first one turned: its items and its model's vectors went through one rotation, so that each model
finds the same neighbours in its own index and nonsense in the other. Ids tell which version an item is of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.data import clustered
from benchmarks.switches import switch_to_and_fro
from recallpb.v1 import recall_pb2, recall_pb2_grpc
from tests.e2e.load import Load
from tests.e2e.platform import Platform, eventually
from tests.support.query_models import Tower

pytestmark = [pytest.mark.e2e, pytest.mark.servers, pytest.mark.timeout(600)]

SERVICE = "towers"
ITEMS, DIMENSION, VECTORS, TOP_K = 2_000, 16, 2, 20
USERS, SWITCHES, QPS = 40, 6, 60


def rotation() -> np.ndarray:
    """An orthogonal matrix that leaves no direction where it was."""
    turned, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(DIMENSION, DIMENSION)))
    return turned.astype(np.float32)


def towers() -> tuple[Tower, Tower]:
    first = Tower.of(1, dimension=DIMENSION, vectors=VECTORS)
    turned = (first.weights.reshape(-1, DIMENSION) @ rotation()).reshape(first.weights.shape)
    return first, Tower(first.table, turned.astype(np.float32), VECTORS)


def users() -> list[tuple[list[int], float]]:
    random = np.random.default_rng(4)
    return [(random.integers(0, 50, random.integers(0, 8)).tolist(), float(random.normal())) for _ in range(USERS)]


def features(user: tuple[list[int], float]) -> recall_pb2.FeatureQuery:
    history, age = user
    return recall_pb2.FeatureQuery(
        features={
            "history": recall_pb2.Feature(ints=recall_pb2.Int64List(values=history)),
            "age": recall_pb2.Feature(floats=recall_pb2.FloatList(values=[age])),
        }
    )


def write_drop(source: Path, version: int, tower: Tower, vectors: np.ndarray) -> None:
    folder = source / f"{version:08}"
    folder.mkdir(parents=True)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSION)
    pq.write_table(pa.table({"id": np.arange(ITEMS) + version * ITEMS, "vector": listed}), folder / "items-0.parquet")
    histories, ages = zip(*users(), strict=True)
    pq.write_table(pa.table({"history": list(histories), "age": list(ages)}), folder / "queries.parquet")
    (folder / "query_model.onnx").write_bytes(tower.onnx())
    manifest = {"items": ["items-*.parquet"], "model_version": f"tower-{version}", "query_model": "query_model.onnx"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def spec(tower: Tower) -> dict[str, Any]:
    return {
        "name": SERVICE,
        "schema": {"dimension": DIMENSION, "metric": "ip", "query_model": tower.schema()},
        "source": {"uri": f"file:{SERVICE}/", "notice": "manual"},
        "engine": "flat",
        "guards": {"p99_floor_ms": 100, "min_id_overlap_percent": None},
        "limits": {"qps": 5000, "concurrency": 256},
    }


def test_no_answer_mixes_the_model_of_one_version_with_the_index_of_another(platform: Platform) -> None:
    items, _ = clustered(ITEMS, DIMENSION, 3)
    models = towers()
    platform.api("POST", "/services", spec(models[0]))
    for version, tower, vectors in zip((1, 2), models, (items, items @ rotation()), strict=True):
        write_drop(platform.source(SERVICE), version, tower, np.ascontiguousarray(vectors, np.float32))
        platform.build(SERVICE)
    indexes = {1: items, 2: items @ rotation()}
    truth = {version: [scores(models[version - 1], user, indexes[version]) for user in users()] for version in (1, 2)}
    mixed = [scores(models[0], user, indexes[2]) for user in users()]
    assert sum(not is_answer(best(one), other) for one, other in zip(mixed, truth[2], strict=True)) > USERS / 2

    service = f"tenants/{platform.tenant}/services/{SERVICE}"
    asked = [features(user) for user in users()]
    with Load(target=platform.gateway, key=platform.key, service=service, queries=asked, qps=QPS, top_k=TOP_K) as load:
        eventually(lambda: len(load.answers) > QPS / 2, seconds_max=20, what="the load to run")
        switch_to_and_fro(platform, SERVICE, load, switches=SWITCHES)
    load.check_complete()

    assert [answer.error for answer in load.failed] == []
    assert {answer.version for answer in load.answers} == {1, 2}
    wrong = [
        each
        for each in load.answers
        if not is_answer([item - each.version * ITEMS for item in each.ids], truth[each.version][each.query])
    ]
    assert wrong == []


def scores(tower: Tower, user: tuple[list[int], float], items: np.ndarray) -> np.ndarray:
    """The score of each item for a user: that of the better of the tower's vectors, [ITEMS]."""
    found: np.ndarray = (items @ tower.vectors_of(*user).T).max(axis=1)
    return found


def best(of: np.ndarray) -> list[int]:
    """The places of the TOP_K greatest scores."""
    return np.argsort(-of, kind="stable")[:TOP_K].tolist()


def is_answer(places: list[int], truth: np.ndarray) -> bool:
    """Whether these are the best by `truth`, in order; of equal scores, up to rounding, any may come first."""
    if len(set(places)) != TOP_K or not all(0 <= place < ITEMS for place in places):
        return False
    return bool(np.allclose(truth[places], truth[best(truth)], rtol=1e-4, atol=1e-4))


def test_a_caller_with_its_own_tower_is_answered_by_the_version_of_its_model(platform: Platform) -> None:
    """It names its model and gets that model's version, live or not; a third model is of no loaded version."""
    service = f"tenants/{platform.tenant}/services/{SERVICE}"
    metadata = [("authorization", f"Bearer {platform.key}")]
    vector = recall_pb2.VectorQuery(vectors=[recall_pb2.Vector(packed=np.ones(DIMENSION, "<f4").tobytes())])
    with grpc.insecure_channel(platform.gateway) as channel:
        stub = recall_pb2_grpc.RecallServiceStub(channel)
        for query in ({"vectors": vector}, {"features": features(([1], 1.0))}):
            for version in (1, 2):
                request = recall_pb2.RecallRequest(service=service, top_k=1, model_version=f"tower-{version}", **query)
                answer = stub.Recall(request, metadata=metadata, timeout=10)
                assert (answer.version, answer.model_version) == (version, f"tower-{version}")
        with pytest.raises(grpc.RpcError) as error:
            stub.Recall(
                recall_pb2.RecallRequest(service=service, top_k=1, model_version="tower-3", vectors=vector),
                metadata=metadata,
                timeout=10,
            )
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        info = stub.GetServiceInfo(recall_pb2.GetServiceInfoRequest(service=service), metadata=metadata, timeout=10)
        assert info.schema.query_model.vectors == VECTORS
        assert [each.name for each in info.schema.query_model.inputs] == ["history", "age"]
