"""What the exact engine says about itself and can be told."""

from __future__ import annotations

from collections.abc import Mapping

from engines.description import EngineDescription, EngineParams, ItemBytes, Metric

FLOAT32_BYTES = 4


class FlatParams(EngineParams):
    """The exact engine has nothing to tune."""


class FlatSearchParams(EngineParams):
    """An exact search has no effort."""


def item_bytes(dimension: int, metric: Metric, params: Mapping[str, object]) -> ItemBytes:  # noqa: ARG001 - every engine is asked the same
    """Nothing is built; every search reads all vectors, and a distance keeps each row's square beside them."""
    square = FLOAT32_BYTES if metric == "l2" else 0
    return ItemBytes(building=0, serving=FLOAT32_BYTES * dimension + square, stored=0)


DESCRIPTION = EngineDescription(
    name="flat",
    summary="Exact search over all vectors: nothing to build or tune, always right, slower with every item",
    params_model=FlatParams,
    search_params_model=FlatSearchParams,
    metrics=("ip", "cosine", "l2"),
    exact=True,
    recall_floor=1.0,
    loads_without_stalling=True,
    filters=True,
    item_bytes=item_bytes,
)
