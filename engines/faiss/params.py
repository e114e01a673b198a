"""What the filtered graph engine says about itself and can be told. Does not import faiss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from engines.description import Effort, EngineDescription, ItemBytes, Metric
from engines.graph import FLOAT32_BYTES, SEARCHES_AT_ONCE, GraphParams, GraphSearchParams

# Of one item, as it lies in the file and in memory: its vector or code, its links, and its level and the place of its
# links (measured, see README.md).
CODE_BYTES = 1
LINK_BYTES = 4
PLACED_BYTES = 12
# Each search under way marks the items that it has seen.
MARK_BYTES = 1
# A build locks items one by one.
LOCK_BYTES = 8


class FaissParams(GraphParams):
    """How the graph is built, and how vectors are kept in it."""

    storage: Literal["Flat", "SQ8"] = Field(
        default="Flat",
        title="How vectors are kept",
        description="Flat keeps them as they are; SQ8 keeps one byte per dimension, a quarter of the memory, and looks "
        "up what it answers in the vectors on disk, so that scores stay exact.",
    )


def links_of_item(links: int) -> float:
    """Room for 2 M on the lowest level; one item in M is on the next level too, with room for M there, and so on."""
    return 2 * links + links / (links - 1)


def item_bytes(dimension: int, metric: Metric, params: Mapping[str, object]) -> ItemBytes:  # noqa: ARG001 - every engine is asked the same
    """The graph holds a copy of the vectors, or their codes; the mapped ones beside it are the system's to drop."""
    told = FaissParams.model_validate(dict(params))
    kept = (FLOAT32_BYTES if told.storage == "Flat" else CODE_BYTES) * dimension
    graph = kept + round(links_of_item(told.M) * LINK_BYTES) + PLACED_BYTES
    return ItemBytes(
        building=graph + LOCK_BYTES + MARK_BYTES,
        serving=graph + MARK_BYTES * SEARCHES_AT_ONCE,
        stored=graph,
    )


DESCRIPTION = EngineDescription(
    name="faiss",
    summary="Approximate search in a graph held in memory (faiss): keeps to a filter while it searches, and can keep "
    "vectors in a quarter of the memory",
    params_model=FaissParams,
    search_params_model=GraphSearchParams,
    metrics=("ip", "cosine", "l2"),
    exact=False,
    recall_floor=0.98,
    loads_without_stalling=False,
    filters=True,
    item_bytes=item_bytes,
    effort=Effort("ef", below_top_k=False),
    compact_params={"storage": "SQ8"},
)
