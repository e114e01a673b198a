"""What the distributed engine says about itself and can be told. Does not import pymilvus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Literal

from pydantic import Field

from engines.description import Effort, EngineDescription, EngineParams, ItemBytes, Metric, ParamFault
from engines.graph import FLOAT32_BYTES, GraphSearchParams
from engines.milvus.instances import lacks

REFERENCE_FILE = "collection.json"

IndexType = Literal["HNSW", "IVF_FLAT", "IVF_PQ", "FLAT"]

NLIST_MAX = 65_536
# No server gives more hits for one query.
TOP_K_AT_SERVER_MAX = 16_384
# Of each cell so many rows at least: k-means of fewer learns nothing, and its libraries say so on every build.
CELL_ROWS_MIN = 39
# In the time in which a graph reaches one candidate further, so many rows of a cell are looked at (measured for exact
# scans, see replicas/subsets.py). So an effort costs about the same whatever the index.
ROWS_PER_CANDIDATE = 16
PQ_BITS = 8
# A code of one byte for so many dimensions, where the dimension allows it.
PQ_DIMENSIONS = 4

# The parameters that not every index has.
INDEXES_WITH: Mapping[str, tuple[IndexType, ...]] = {
    "M": ("HNSW",),
    "ef_construction": ("HNSW",),
    "nlist": ("IVF_FLAT", "IVF_PQ"),
    "pq_codes": ("IVF_PQ",),
}

# Of one row at the instance: its number and its time stamp.
ROW_BYTES = 16
LINK_BYTES = 8


class MilvusParams(EngineParams):
    """How the collection is indexed and loaded."""

    index_type: IndexType = Field(
        default="HNSW",
        title="Index",
        description="HNSW is a graph and the fastest; IVF_FLAT sorts vectors into cells and is built faster; IVF_PQ "
        "also keeps short codes instead of vectors, for the least memory; FLAT looks at everything.",
    )
    M: int = Field(
        default=16,
        ge=4,
        le=64,
        title="Links per item (HNSW)",
        description="More links find more, and cost 8 bytes each per item and build time. 12 to 48 is usual.",
    )
    ef_construction: int = Field(
        default=200,
        ge=8,
        le=512,
        title="Build effort (HNSW)",
        description="Candidates looked at when an item is linked. Build time grows with it; above 400 little is won.",
    )
    nlist: int = Field(
        default=1_024,
        ge=1,
        le=NLIST_MAX,
        title="Cells (IVF)",
        description="Into how many cells vectors are sorted; about the square root of the number of items, times 1 to "
        f"4. Fewer are made where a cell would have less than {CELL_ROWS_MIN} items.",
    )
    pq_codes: int = Field(
        default=0,
        ge=0,
        le=32_768,
        title="Bytes per item (IVF_PQ)",
        description="A vector is kept as so many codes of one byte; the dimension must be a multiple of it. 0: one for "
        "every four dimensions, or for the least number above that divides the dimension.",
    )
    replicas: int = Field(
        default=1,
        ge=1,
        le=16,
        title="Copies in memory",
        description="How many query nodes of the instance hold the collection; more of them answer more queries.",
    )

    @property
    def in_cells(self) -> bool:
        """Whether a search looks into some cells, and finds no more than these hold."""
        return self.index_type in ("IVF_FLAT", "IVF_PQ")

    def cells(self, rows: int) -> int:
        """How many cells an index of so many rows has."""
        return max(1, min(self.nlist, rows // CELL_ROWS_MIN))

    def codes(self, dimension: int) -> int:
        """How many codes a vector becomes; it may be that the dimension is no multiple of it."""
        if self.pq_codes:
            return self.pq_codes
        width = next(width for width in range(min(PQ_DIMENSIONS, dimension), dimension + 1) if dimension % width == 0)
        return dimension // width

    def codes_fault(self, dimension: int) -> str:
        """Why vectors of so many dimensions cannot be kept as so many codes; empty when they can."""
        codes = self.codes(dimension)
        if self.index_type != "IVF_PQ" or dimension % codes == 0:
            return ""
        divisors = [number for number in range(1, dimension + 1) if dimension % number == 0]
        below, above = [each for each in divisors if each < codes], [each for each in divisors if each > codes]
        near = ", ".join(map(str, [*below[-2:], *above[:2]]))
        return f"The dimension, {dimension}, is no multiple of {codes}. Leave it at 0, or take one of {near}."


class MilvusSearchParams(GraphSearchParams):
    """How hard a search looks."""

    nprobe: int | None = Field(
        default=None,
        ge=1,
        le=NLIST_MAX,
        title="Cells searched (IVF)",
        description="Recall and time per search grow with it. Empty: as many as the search effort means, which counts "
        f"{ROWS_PER_CANDIDATE} items of cells as one candidate of a graph.",
    )


def probes(params: MilvusParams, rows: int, ef: int, nprobe: int | None) -> int:
    """How many cells a search looks into."""
    cells = params.cells(rows)
    wanted = ceil(ROWS_PER_CANDIDATE * ef * cells / rows) if nprobe is None else nprobe
    return max(1, min(cells, wanted))


def item_bytes(dimension: int, metric: Metric, params: Mapping[str, object]) -> ItemBytes:  # noqa: ARG001 - every engine is asked the same
    """What serves is memory of the instance. It counts as a replica's own, because nobody else counts it: quotas and
    placements know nodes and not instances. The build and the files take nothing that grows with the items."""
    told = MilvusParams.model_validate(dict(params))
    held = FLOAT32_BYTES * dimension + ROW_BYTES
    if told.index_type == "HNSW":
        held += LINK_BYTES * told.M
    elif told.index_type == "IVF_PQ":
        held = told.codes(dimension) + ROW_BYTES
    return ItemBytes(building=0, serving=held, stored=0)


def param_faults(dimension: int, params: Mapping[str, object]) -> Iterator[ParamFault]:
    """A parameter that the index has not would be passed over, and whoever set it would look for what it does."""
    told = MilvusParams.model_validate(dict(params))
    for name, indexes in INDEXES_WITH.items():
        default = MilvusParams.model_fields[name].default
        if told.index_type not in indexes and getattr(told, name) != default:
            message = f"{told.index_type} has no {name}, only {' and '.join(indexes)}. Leave it out, or at {default}."
            yield ParamFault(name, message)
    if fault := told.codes_fault(dimension):
        yield ParamFault("pq_codes", fault)


DESCRIPTION = EngineDescription(
    name="milvus",
    summary="Approximate search in a Milvus instance or cluster, for what outgrows one machine; an administrator "
    "configures the instances",
    params_model=MilvusParams,
    search_params_model=MilvusSearchParams,
    metrics=("ip", "cosine", "l2"),
    exact=False,
    recall_floor=0.98,
    loads_without_stalling=True,
    # A set of rows is no filter that a server could be told: see README.md.
    filters=False,
    item_bytes=item_bytes,
    param_faults=param_faults,
    effort=Effort("ef", below_top_k=False),
    hits_max=TOP_K_AT_SERVER_MAX,
    reference_file=REFERENCE_FILE,
    lacks=lacks,
)
