"""What a version is going to take, before it is built: memory of the build, memory of each replica, files.

The formula is the engine's own, by item, and what the import has already written. It is corrected by what earlier
builds of the same service measured, upwards only: what was once too little is not believed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from catalog.models import Service
from engines import registry
from engines.description import ItemBytes
from versions.models import Replica, Version
from versions.selectors import versions_of
from versions.states import ReplicaState

FLOAT32_BYTES = 4
# Of a process that has imported its libraries and has no items yet (measured: 52 MB, and 127 in huge pages).
BUILD_BASE_BYTES = 64 * 10**6
REPLICA_BASE_BYTES = 136 * 10**6
# Of ONNX Runtime in a process, before it has a model.
MODEL_BASE_BYTES = 48 * 10**6
# The most that a replica comes to remember of the filters it was asked with, where there are attributes to filter by.
FILTERS_BYTES_MAX = 52 * 2**20
# Known queries and their answers, and the manifest.
EXTRA_FILE_BYTES = 1 * 10**6
# Only versions that are not much smaller teach: in a small one the process weighs more than its items.
LEARN_FROM_MAX = 5
LEARN_ITEMS_SHARE_MIN = 0.25
CORRECTION_MAX = 3.0


@dataclass(frozen=True)
class Plan:
    """What is going to be (or was) built. `data_bytes`: the files that the import wrote, without the query model's.

    `model_bytes`: those; `model_memory_bytes`: what a replica holds for the model, as its trial measured; 0 without.
    """

    engine: str
    params: Mapping[str, Any]
    schema: Mapping[str, Any]
    items: int
    searchable: int
    data_bytes: int
    model_bytes: int = 0
    model_memory_bytes: int = 0

    @property
    def item_bytes(self) -> ItemBytes:
        dimension, metric = self.schema["dimension"], self.schema["metric"]
        return registry.describe(self.engine).item_bytes(dimension, metric, self.params)

    @property
    def vector_bytes(self) -> int:
        return FLOAT32_BYTES * int(self.schema["dimension"]) * self.items


@dataclass(frozen=True)
class Sizes:
    """In bytes. `build`: memory of the build child, without mapped files. `replica`: of each replica, with them."""

    build: int
    replica: int
    index_files: int
    artifact: int


@dataclass(frozen=True)
class Corrections:
    """By how much earlier versions (`learned_from`) took more than the formula says; 1.0 when it was right."""

    build: float = 1.0
    replica: float = 1.0
    artifact: float = 1.0
    learned_from: tuple[int, ...] = ()


def formula(plan: Plan) -> Sizes:
    """The prediction of one who has measured nothing yet."""
    each = plan.item_bytes
    index_files = each.stored * plan.searchable
    # Vectors that every search reads are in the engine's own figure; ids and attributes are mapped beside it.
    beside = max(0, plan.data_bytes - plan.vector_bytes)
    return Sizes(
        build=BUILD_BASE_BYTES + each.building * plan.searchable,
        replica=REPLICA_BASE_BYTES
        + each.serving * plan.searchable
        + beside
        + _model_memory(plan)
        + _filters_memory(plan),
        index_files=index_files,
        artifact=plan.data_bytes + index_files + plan.model_bytes + EXTRA_FILE_BYTES,
    )


def _model_memory(plan: Plan) -> int:
    return MODEL_BASE_BYTES + plan.model_memory_bytes if plan.model_bytes else 0


def _filters_memory(plan: Plan) -> int:
    return FILTERS_BYTES_MAX if plan.schema.get("attributes") else 0


def predicted(plan: Plan, by: Corrections) -> Sizes:
    plain = formula(plan)
    return Sizes(
        build=int(plain.build * by.build),
        replica=int(plain.replica * by.replica),
        index_files=int(plain.index_files * by.artifact),
        artifact=int(plain.artifact * by.artifact),
    )


def corrections(service: Service, plan: Plan) -> Corrections:
    """From the newest versions of the same engine whose size is like that of `plan`."""
    complete = versions_of(service).filter(engine=plan.engine, completed_at__isnull=False)
    alike = complete.filter(items__gte=ceil(LEARN_ITEMS_SHARE_MIN * plan.items))
    earlier = list(alike.prefetch_related("replicas")[:LEARN_FROM_MAX])
    return Corrections(
        build=_worst(earlier, _build_ratio),
        replica=_worst(earlier, _replica_ratio),
        artifact=_worst(earlier, _artifact_ratio),
        learned_from=tuple(version.number for version in earlier),
    )


def memory_of(version: Version) -> int:
    """What a replica of a complete version is expected to hold."""
    return formula(plan_of(version)).replica


def held_bytes(replica: Replica) -> int:
    """What a replica holds, or is going to hold once it is loaded."""
    if replica.rss_bytes or replica.state == ReplicaState.WITHDRAWN:
        return replica.rss_bytes
    return memory_of(replica.version)


def replica_bytes(version: Version) -> int:
    """The same, corrected by what its service's versions took, as `admit` predicts it."""
    plan = plan_of(version)
    return predicted(plan, corrections(version.service, plan)).replica


def plan_of(version: Version) -> Plan:
    """The plan of a version that was built."""
    schema = version.spec["schema"]
    each = registry.describe(version.engine).item_bytes(schema["dimension"], schema["metric"], version.engine_params)
    model = version.report.get("model", {})
    model_bytes = model.get("bytes", 0)
    return Plan(
        engine=version.engine,
        params=version.engine_params,
        schema=schema,
        items=version.items,
        searchable=version.searchable_items,
        data_bytes=max(0, version.bytes - each.stored * version.searchable_items - model_bytes),
        model_bytes=model_bytes,
        model_memory_bytes=model.get("memory_bytes", 0),
    )


def _worst(versions: Iterable[Version], ratio: Callable[[Version], float]) -> float:
    return min(CORRECTION_MAX, max([1.0, *(ratio(version) for version in versions)]))


def _build_ratio(version: Version) -> float:
    """The peak counts the mapped vectors too, so that they stand on both sides."""
    plan = plan_of(version)
    mapped = FLOAT32_BYTES * int(plan.schema["dimension"]) * plan.searchable
    return float(version.report.get("index", {}).get("peak_rss_bytes", 0) / (formula(plan).build + mapped))


def _replica_ratio(version: Version) -> float:
    """Of those that are loaded now: their agents tell it."""
    plan = plan_of(version)
    held = [replica.rss_bytes for replica in version.replicas.all() if replica.state == ReplicaState.READY]
    # A replica that has answered exactly has read all vectors, which the system may drop again.
    return float(max(held, default=0) / (formula(plan).replica + plan.vector_bytes))


def _artifact_ratio(version: Version) -> float:
    """Against the formula at that time, because what the import wrote is known only together with the index."""
    told = version.report.get("admit", {}).get("formula", {}).get("artifact")
    return float(version.bytes / told) if told else 0.0
