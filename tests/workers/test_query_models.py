"""The query model of a build: tried in a child, published with its index, and refused before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import layout
from bundles.artifact import open_artifact
from catalog.models import Service
from querymodel.recorded import read
from querymodel.spec import Feature
from tests.factories import make_service
from tests.support.history import asked
from tests.support.query_models import FLOAT, INT64, Tower, endless_loop, model, tensor
from tests.support.query_models import node as op
from tests.support.source import write_drop
from tests.workers.conftest import finish
from versions import selectors
from versions.models import Build
from versions.sizes import MODEL_BASE_BYTES, REPLICA_BASE_BYTES, formula, plan_of
from versions.views import build_view

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

TOWER = Tower.of(1, dimension=4, vectors=2)
AGE: dict[str, Any] = {"vectors": 1, "inputs": [{"name": "age", "type": "float32"}]}
USERS = [([1, 2, 3], 0.5), ([4], 1.5), ([], 2.5), ([5, 6, 7, 8, 9, 10], 3.5)]


def service_with(films: Any, block: dict[str, Any], **blocks: Any) -> Service:
    return make_service(films, schema={"dimension": 4, "metric": "ip", "query_model": block}, **blocks)


def delivered(service: Service, name: str, payload: bytes | None, users: Any = (), **drop: Any) -> Path:
    """A drop with a model, and with the users' features as its queries when there are some."""
    folder = write_drop(service, name, **drop)
    if payload is not None:
        (folder / "query_model.onnx").write_bytes(payload)
    if users:
        histories, ages = zip(*users, strict=True)
        pq.write_table(pa.table({"history": list(histories), "age": list(ages)}), folder / "queries.parquet")
    return folder


def built(service: Service, name: str, payload: bytes | None, **options: Any) -> Build:
    delivered(service, name, payload, **options)
    return finish(asked(service))


def test_the_model_goes_with_the_index_into_the_artifact(films, folders, node):
    service = service_with(films, TOWER.schema())
    build = built(service, "1", TOWER.onnx(), users=USERS, model_version="mind-7")

    assert build.state == "SUCCEEDED", build.error_message
    version = selectors.version_get(service, 1)
    artifact = open_artifact(Path(version.artifact), version.manifest_sha256)
    assert (artifact.path / layout.MODEL_FOLDER / "model.onnx").read_bytes() == TOWER.onnx()
    assert artifact.manifest["query_model"]["batch_max"] > 1
    assert read(artifact.path / layout.FEATURES)[1] == {
        "history": Feature("ints", [4]),
        "age": Feature("floats", [1.5]),
    }
    wanted = np.concatenate([TOWER.vectors_of(*user) for user in USERS])
    queries, source = artifact.queries()
    assert source == "features"
    np.testing.assert_allclose(queries, wanted, rtol=1e-3, atol=1e-4)
    assert np.load(artifact.path / layout.KNOWN_FEATURES).shape == (4, 2, 4)
    assert build.report["tune"]["queries_source"] == "features"
    told = build.report["model"]
    assert (told["queries"], told["nodes"], told["ms"] > 0) == (8, 14, True)


def test_a_service_without_a_model_leaves_one_in_the_drop_alone(films, folders, node):
    service = make_service(films)
    build = built(service, "1", b"garbage", query_model="query_model.onnx")
    assert build.state == "SUCCEEDED", build.error_message
    version = selectors.version_get(service, 1)
    assert not (Path(version.artifact) / layout.MODEL_FOLDER).exists()


def test_the_model_counts_in_what_is_admitted(films, folders, node):
    service = service_with(films, TOWER.schema())
    build = built(service, "1", TOWER.onnx())
    told = build.report["admit"]["formula"]
    assert told["replica"] >= REPLICA_BASE_BYTES + MODEL_BASE_BYTES
    assert formula(plan_of(selectors.version_get(service, 1))).replica >= REPLICA_BASE_BYTES + MODEL_BASE_BYTES


WIDEN = {"column": np.array([-1, 1], np.int64), "shape": np.array([1, 4], np.int64)}
WIDENED = [op("Reshape", ["age", "column"], "narrow"), op("Expand", ["narrow", "shape"], "wide")]


def of_age(*nodes: Any, output: Any = ("B", 4), **constants: Any) -> bytes:
    return model(
        [*WIDENED, *nodes], [tensor("age", FLOAT, ["B"])], [tensor("vectors", FLOAT, output)], {**WIDEN, **constants}
    )


def a_wide_output() -> bytes:
    shape = np.array([1, 10**9], np.int64)
    return of_age(op("Expand", ["narrow", "huge"], "vectors"), output=["B", 10**9], huge=shape)


def an_output_that_grows_when_it_runs() -> bytes:
    """Its file says nothing of how wide it gets."""
    nodes = [
        op("ReduceMax", ["age"], "most", keepdims=1),
        op("Mul", ["most", "nothing"], "none"),
        op("Add", ["none", "billion"], "width"),
        op("Cast", ["width"], "width_int", to=INT64),
        op("Concat", ["one", "width_int"], "huge", axis=0),
        op("Expand", ["narrow", "huge"], "vectors"),
    ]
    constants = {
        "nothing": np.zeros(1, np.float32),
        "billion": np.full(1, 1e9, np.float32),
        "one": np.ones(1, np.int64),
    }
    return of_age(*nodes, output=["B", "N"], **constants)


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (None, "drop.missing_model", "query_model.onnx is not there"),
        (b"", "drop.model_unreadable", "no graph"),
        (b"garbage" * 100, "drop.model_unreadable", ""),
        (Tower.of(1, dimension=8).onnx(), "drop.model_shape", "needs an input history"),
        (a_wide_output(), "drop.model_shape", "[?, 1000000000]"),
        (an_output_that_grows_when_it_runs(), "drop.model_shape", "No query could be computed"),
        (of_age(op("Neg", ["wide"], "minus"), op("Log", ["minus"], "vectors")), "drop.model_not_finite", ""),
        (endless_loop(["B", 4]), "drop.model_too_slow", "was stopped"),
    ],
)
def test_a_model_that_cannot_serve_fails_the_build_and_not_the_request(films, folders, node, payload, reason, said):
    service = service_with(films, AGE)

    build = built(service, "1", payload)

    assert (build.state, build.error_reason, build.error_owner) == ("FAILED", reason, "user"), build.error_message
    assert said in build.error_message
    assert build_view(build)["error"]["reason"] == reason
    assert not selectors.versions_of(service).exists()


def test_a_new_drop_with_a_bad_model_leaves_what_is_live(films, folders, node):
    service = service_with(films, TOWER.schema())
    assert built(service, "1", TOWER.onnx()).state == "SUCCEEDED"
    build = built(service, "2", Tower.of(2, dimension=4, vectors=3).onnx())
    assert (build.state, build.error_reason) == ("FAILED", "drop.model_shape")
    service.refresh_from_db()
    assert service.live_version == 1


def test_a_missing_vocabulary_is_told_by_its_name(films, folders, node):
    service = service_with(films, TOWER.schema(vocab="items_vocab.parquet", unknown="drop"))
    build = built(service, "1", TOWER.onnx())
    assert (build.state, build.error_reason) == ("FAILED", "drop.missing_vocabulary")
    assert "items_vocab.parquet" in build.error_message


def test_a_drop_whose_vocabulary_alone_changed_is_another_drop(films, folders, node):
    service = service_with(films, TOWER.schema(vocab="items_vocab.parquet", unknown="drop"))
    folder = delivered(service, "1", TOWER.onnx(), users=[([100], 1.0)])
    pq.write_table(pa.table({"value": [100], "index": [1]}), folder / "items_vocab.parquet")
    assert finish(asked(service)).state == "SUCCEEDED"
    pq.write_table(pa.table({"value": [100, 101], "index": [1, 2]}), folder / "items_vocab.parquet")
    second = finish(asked(service))
    assert (second.state, second.version_number) == ("SUCCEEDED", 2), second.error_message
