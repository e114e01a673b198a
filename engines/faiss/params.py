"""What the filtered graph engine says about itself and can be told. Does not import faiss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from engines.description import Effort, EngineDescription, EngineParams, ItemBytes, Metric

EF_MAX = 10_000

# Of one item, as it lies in the file and in memory: its vector or code, its links, and its level and the place of its
# links (measured, see README.md).
FLOAT32_BYTES = 4
CODE_BYTES = 1
LINK_BYTES = 4
PLACED_BYTES = 12
# Each search under way marks the items that it has seen.
MARK_BYTES = 1
SEARCHES_AT_ONCE = 4
# A build locks items one by one.
LOCK_BYTES = 8


class FaissParams(EngineParams):
    """How the graph is built, and how vectors are kept in it."""

    M: int = Field(
        default=16,
        ge=2,
        le=128,
        title="Links per item",
        description="More links find more, and cost 8 bytes each per item and build time. 12 to 48 is usual.",
    )
    ef_construction: int = Field(
        default=200,
        ge=8,
        le=4_000,
        title="Build effort",
        description="Candidates looked at when an item is linked. Build time grows with it; above 400 little is won.",
    )
    storage: Literal["Flat", "SQ8"] = Field(
        default="Flat",
        title="How vectors are kept",
        description="Flat keeps them as they are; SQ8 keeps one byte per dimension, a quarter of the memory, and looks "
        "up what it answers in the vectors on disk, so that scores stay exact.",
    )


class FaissSearchParams(EngineParams):
    """How hard a search looks."""

    ef: int = Field(
        default=200,
        ge=1,
        le=EF_MAX,
        title="Search effort",
        description="Candidates a search keeps. Recall and time per search grow with it; top_k is its lower bound.",
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
    search_params_model=FaissSearchParams,
    metrics=("ip", "cosine", "l2"),
    exact=False,
    recall_floor=0.98,
    loads_without_stalling=False,
    filters=True,
    item_bytes=item_bytes,
    effort=Effort("ef", below_top_k=False),
)
