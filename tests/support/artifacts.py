"""Artifacts for tests, made by the same parts that make them in a build: import, engine, publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bundles import layout
from bundles.artifact import publish
from bundles.drop import open_drop
from bundles.importing import import_items
from bundles.report import ImportReport
from bundles.schema import ATTRIBUTE_TYPES, ImportSchema
from engines import registry
from engines.base import IndexSpec, SearchEffort
from querymodel.delivery import deliver
from querymodel.spec import ModelSpec
from tests.support.query_models import Tower
from workers.children import modelling

Metric = Literal["ip", "cosine", "l2"]
KNOWN_QUERIES, KNOWN_TOP_K = 50, 10
WARM_QUERIES = 200


@dataclass(frozen=True)
class MadeArtifact:
    """A published artifact and what went into it, in the order of its rows.

    `vectors` are as they were given, `ids` as in the schema.
    """

    path: Path
    manifest_sha256: str
    version: int
    ids: list[Any]
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class ArtifactSpec:
    """What to make. `attributes` maps a name to (type, values); `hidden` rows are no answers."""

    items: int = 500
    dimension: int = 16
    metric: Metric = "ip"
    normalize: bool = False
    engine: str = "flat"
    params: Mapping[str, object] = field(default_factory=dict)
    partitions: int = 1
    search_params: Mapping[str, int] = field(default_factory=dict)
    text_ids: bool = False
    attributes: Mapping[str, tuple[str, Sequence[Any]]] = field(default_factory=dict)
    hidden: int = 0
    tenant: str = "films"
    service: str = "similar"
    version: int = 1
    model_version: str = "mind-7"
    first_id: int = 1_000
    seed: int = 7
    # The query model, what the schema says of its history beyond the tower's own words, and recorded features.
    tower: Tower | None = None
    history: Mapping[str, Any] = field(default_factory=dict)
    recorded: Sequence[tuple[list[int], float]] = ()


def make_artifact(folder: Path, spec: ArtifactSpec | None = None, **changes: Any) -> MadeArtifact:
    """Makes and publishes an artifact under `folder`; `changes` are fields of ArtifactSpec."""
    spec = spec or ArtifactSpec(**changes)
    rng = np.random.default_rng(spec.seed)
    vectors = rng.normal(size=(spec.items, spec.dimension)).astype(np.float32)
    numbers = [spec.first_id + 3 * row for row in range(spec.items)]
    ids = [f"film-{number}" for number in numbers] if spec.text_ids else numbers
    schema = {
        "id_type": "string" if spec.text_ids else "int64",
        "dimension": spec.dimension,
        "metric": spec.metric,
        "normalize": spec.normalize,
        "attributes": [{"name": name, "type": kind} for name, (kind, _) in spec.attributes.items()],
        "query_model": spec.tower.schema(**spec.history) if spec.tower else None,
    }
    work = folder / f"work-{spec.version}"
    work.mkdir(parents=True)
    report = _import(folder / f"source-{spec.version}", work, spec, schema, ids, vectors)
    rows = _rows(work, spec, ids)
    queries = rng.normal(size=(WARM_QUERIES, spec.dimension)).astype(np.float32)
    _build(work, spec, report, queries)
    manifest = _manifest(spec, schema)
    if spec.tower is not None:
        manifest["query_model"] = _try_model(folder / f"source-{spec.version}", work, spec, schema)
    published = publish(work, folder / f"v{spec.version}", manifest)
    return MadeArtifact(
        path=published.path,
        manifest_sha256=published.manifest_sha256,
        version=spec.version,
        ids=[ids[row] for row in rows],
        vectors=vectors[rows],
        queries=queries,
        manifest=manifest,
    )


def exact_ids(
    made: MadeArtifact, query: NDArray[np.float32], top_k: int, exclude: Sequence[Any] = ()
) -> tuple[list[Any], NDArray[np.float64]]:
    """The true best ids and their scores, by plain numpy; hidden items and `exclude` left out."""
    scores = exact_scores(made, query)
    larger_is_better = made.manifest["metric"] != "l2"
    order = np.argsort(-scores if larger_is_better else scores, kind="stable")
    left_out = set(exclude)
    searchable = made.manifest["searchable_items"]
    best = [row for row in order.tolist() if row < searchable and made.ids[row] not in left_out][:top_k]
    return [made.ids[row] for row in best], scores[best]


def exact_scores(made: MadeArtifact, query: NDArray[np.float32]) -> NDArray[np.float64]:
    """The score of every item, in float64."""
    vectors, asked = made.vectors.astype(np.float64), query.astype(np.float64)
    if made.manifest["metric"] == "l2":
        return np.asarray(((vectors - asked) ** 2).sum(axis=1))
    if made.manifest["metric"] == "cosine" or made.manifest["schema"]["normalize"]:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        asked = asked / np.linalg.norm(asked)
    return np.asarray(vectors @ asked)


def _import(
    source: Path, work: Path, spec: ArtifactSpec, schema: dict[str, Any], ids: list[Any], vectors: NDArray[np.float32]
) -> ImportReport:
    """Hidden items are the last ones, so that rows of an artifact in one partition are rows of `vectors`."""
    (source / "d1").mkdir(parents=True)
    columns = {
        "id": pa.array(ids),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), spec.dimension),
        "searchable": pa.array([row < spec.items - spec.hidden for row in range(spec.items)]),
        **{name: pa.array(list(values), ATTRIBUTE_TYPES[kind]) for name, (kind, values) in spec.attributes.items()},
    }
    pq.write_table(pa.table(columns), source / "d1" / "items-0.parquet")
    drop = open_drop(source, "d1", allow_unmarked=True)
    report = import_items(drop, ImportSchema.from_spec(schema), work, partitions=spec.partitions)
    assert report.items == spec.items, report.to_dict()
    return report


def _rows(work: Path, spec: ArtifactSpec, ids: list[Any]) -> list[int]:
    """Which of the given rows each row of the artifact is: they are ordered by partition."""
    if spec.text_ids:
        stored = pa.ipc.open_file(pa.memory_map(str(work / layout.IDS_ARROW))).read_all().column(0).to_pylist()
    else:
        stored = np.load(work / layout.IDS_NPY).tolist()
    place = {each: row for row, each in enumerate(ids)}
    return [place[each] for each in stored]


def _build(work: Path, spec: ArtifactSpec, report: ImportReport, queries: NDArray[np.float32]) -> None:
    """The index, the warm-up queries, and what the index answers to some of them."""
    index_dir = work / layout.INDEX_FOLDER
    index_dir.mkdir()
    stored = np.load(work / layout.VECTORS, mmap_mode="r")[: spec.items - spec.hidden]
    index_spec = IndexSpec(
        metric=spec.metric,
        dimension=spec.dimension,
        partitions=spec.partitions,
        partition_rows=report.partition_rows,
        threads=2,
        params=spec.params,
    )
    registry.builder(spec.engine).build(index_spec, stored, index_dir, lambda _: None)
    known = queries[:KNOWN_QUERIES]
    asked = known
    if spec.metric == "cosine" or spec.normalize:
        asked = known / np.linalg.norm(known, axis=1, keepdims=True)
    searcher = registry.open_searcher(spec.engine, index_spec, index_dir, stored)
    rows, _ = searcher.search(asked.astype(np.float32), KNOWN_TOP_K, SearchEffort(ef=spec.search_params.get("ef")))
    sampled = np.arange(0, len(stored), 7)
    found, _ = searcher.search(np.array(stored[sampled]), KNOWN_TOP_K, SearchEffort(ef=spec.search_params.get("ef")))
    searcher.close()
    np.save(work / layout.SAMPLED_ROWS, sampled[(found == sampled[:, None]).any(axis=1)])
    np.save(work / layout.QUERIES, queries)
    np.save(work / layout.KNOWN_QUERIES, known)
    np.save(work / layout.KNOWN_ROWS, rows)


def _try_model(source: Path, work: Path, spec: ArtifactSpec, schema: dict[str, Any]) -> dict[str, Any]:
    """Delivers and tries the tower as a build does; returns what the manifest says of it."""
    assert spec.tower is not None
    (source / "d1" / "query_model.onnx").write_bytes(spec.tower.onnx())
    if spec.recorded:
        histories, ages = zip(*spec.recorded, strict=True)
        pq.write_table(pa.table({"history": list(histories), "age": list(ages)}), source / "d1" / "queries.parquet")
    model_spec = ModelSpec.of(schema)
    assert model_spec is not None
    deliver(open_drop(source, "d1", allow_unmarked=True, vocabularies=model_spec.vocabularies), model_spec, work)
    order = {"schema": schema, "model_dir": str(work / layout.MODEL_FOLDER), "name": "it", "ms_max": 1_000}
    tried = modelling.work({**order, "out_dir": str(work)})
    return {"batch_max": tried["batch_max"], "ms": tried["ms"]}


def _manifest(spec: ArtifactSpec, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": 1,
        "tenant": spec.tenant,
        "service": spec.service,
        "version": spec.version,
        "created_at": "2026-11-21T12:00:00Z",
        "schema": schema,
        "items": spec.items,
        "searchable_items": spec.items - spec.hidden,
        "dimension": spec.dimension,
        "metric": spec.metric,
        "engine": {"name": spec.engine, "params": dict(spec.params), "partitions": spec.partitions},
        "search_params": dict(spec.search_params),
        "model_version": spec.model_version,
        "queries_source": "recorded",
    }
