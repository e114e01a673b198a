"""What the exact engine says about itself and can be told."""

from __future__ import annotations

from engines.description import EngineDescription, EngineParams


class FlatParams(EngineParams):
    """The exact engine has nothing to tune."""


class FlatSearchParams(EngineParams):
    """An exact search has no effort."""


DESCRIPTION = EngineDescription(
    name="flat",
    summary="Exact search over all vectors: nothing to build or tune, always right, slower with every item",
    params_model=FlatParams,
    search_params_model=FlatSearchParams,
    metrics=("ip", "cosine", "l2"),
    exact=True,
    recall_floor=1.0,
    loads_without_stalling=True,
)
