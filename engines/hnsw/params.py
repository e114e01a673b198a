"""What the graph engine says about itself and can be told. Does not import hnswlib."""

from __future__ import annotations

from collections.abc import Mapping

from engines.description import Effort, EngineDescription, ItemBytes, Metric
from engines.graph import FLOAT32_BYTES, SEARCHES_AT_ONCE, GraphParams, GraphSearchParams

# Of one item: its vector, its links on the lowest level, its label and the count of its links, as they lie in the file;
# in memory also its lock, its place on higher levels and its entry in the table of labels (measured, see README.md).
LINK_BYTES = 8
STORED_BYTES = 20
HELD_BYTES = 140
# Each search under way marks the items that it has seen.
MARK_BYTES = 2


def item_bytes(dimension: int, metric: Metric, params: Mapping[str, object]) -> ItemBytes:  # noqa: ARG001 - every engine is asked the same
    """The graph holds a copy of the vectors; the mapped ones beside it stay cold until an exact scan reads them."""
    graph = FLOAT32_BYTES * dimension + LINK_BYTES * GraphParams.model_validate(dict(params)).M
    held = graph + HELD_BYTES
    return ItemBytes(building=held, serving=held + MARK_BYTES * SEARCHES_AT_ONCE, stored=graph + STORED_BYTES)


DESCRIPTION = EngineDescription(
    name="hnsw",
    summary="Approximate search in a graph held in memory (hnswlib): the fastest engine for unfiltered search",
    params_model=GraphParams,
    search_params_model=GraphSearchParams,
    metrics=("ip", "cosine", "l2"),
    exact=False,
    recall_floor=0.98,
    # hnswlib.load_index holds the interpreter for seconds.
    loads_without_stalling=False,
    filters=False,
    item_bytes=item_bytes,
    effort=Effort("ef", below_top_k=False),
)
