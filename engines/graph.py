"""What engines that search a navigable graph of near neighbours (Malkov and Yashunin 2016) are told alike."""

from __future__ import annotations

from pydantic import Field

from engines.description import EngineParams

EF_MAX = 10_000
FLOAT32_BYTES = 4
# As many searches of one version may be under way, each with its marks of the items that it has seen.
SEARCHES_AT_ONCE = 4


class GraphParams(EngineParams):
    """How the graph is built."""

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


class GraphSearchParams(EngineParams):
    """How hard a search looks."""

    ef: int = Field(
        default=200,
        ge=1,
        le=EF_MAX,
        title="Search effort",
        description="Candidates a search keeps. Recall and time per search grow with it; top_k is its lower bound.",
    )
