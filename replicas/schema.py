"""What a version's manifest says that answering needs, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.description import Metric
from engines.metrics import larger_is_better
from querymodel.spec import ModelSpec

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class VersionSchema:
    """One version's names, shape and search parameters."""

    tenant: str
    service: str
    version: int
    model_version: str
    text_ids: bool
    dimension: int
    metric: Metric
    normalized: bool
    items: int
    searchable_items: int
    attributes: Mapping[str, str]
    engine: str
    engine_params: Mapping[str, object]
    partitions: int
    ef: int | None
    nprobe: int | None
    model: ModelSpec | None = None
    # Queries that may share a run of the model, as its trial found.
    model_batch_max: int = 1

    @property
    def vector_bytes(self) -> int:
        return FLOAT32_BYTES * self.dimension

    @property
    def larger_is_better(self) -> bool:
        return larger_is_better(self.metric)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> VersionSchema:
        """Raises KeyError, TypeError or ValueError when the manifest lacks what a replica needs."""
        schema, engine, search = manifest["schema"], manifest["engine"], manifest.get("search_params") or {}
        return cls(
            tenant=manifest["tenant"],
            service=manifest["service"],
            version=int(manifest["version"]),
            model_version=manifest.get("model_version") or "",
            text_ids=schema["id_type"] == "string",
            dimension=int(manifest["dimension"]),
            metric=manifest["metric"],
            normalized=manifest["metric"] == "cosine" or bool(schema.get("normalize")),
            items=int(manifest["items"]),
            searchable_items=int(manifest["searchable_items"]),
            attributes={attribute["name"]: attribute["type"] for attribute in schema.get("attributes") or []},
            engine=engine["name"],
            engine_params=engine.get("params") or {},
            partitions=int(engine.get("partitions") or 1),
            ef=_positive(search.get("ef")),
            nprobe=_positive(search.get("nprobe")),
            model=ModelSpec.of(schema),
            model_batch_max=int((manifest.get("query_model") or {}).get("batch_max") or 1),
        )


def _positive(value: Any) -> int | None:
    return int(value) if value else None
