"""The words between the edge and the core: a query, its answer, a column of attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from querymodel.spec import Feature
from replicas.errors import ReplicaError

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
MS_PER_SECOND = 1_000


class MergePolicy(Enum):
    """How the lists of several query vectors become one; see `merge`."""

    MAX = "max"
    WEIGHTED_SUM = "weighted_sum"
    ROUND_ROBIN = "round_robin"


class QueryKind(Enum):
    """What the caller asked by."""

    VECTORS = "vectors"
    ITEMS = "items"
    FEATURES = "features"
    NOTHING = "query"


class OnMissing(Enum):
    """What becomes of a query by items when the version does not hold all of them."""

    SKIP = "skip"
    FAIL = "fail"
    MIN_COVERAGE = "min_coverage"


class WeightedItem(NamedTuple):
    """`key` is the id of the type that the caller chose, None when the caller gave none."""

    key: int | str | None
    weight: float = 1.0
    timestamp_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """What a query by items says; `half_life_seconds` of 0 lets nothing decay."""

    items: tuple[WeightedItem, ...] = ()
    half_life_seconds: float = 0.0
    on_missing: OnMissing = OnMissing.SKIP
    min_coverage: float = 0.0
    keep_query_items: bool = False


NO_ITEMS = ItemQuery()


@dataclass(slots=True)
class Query:
    """One request as the caller sent it; nothing is checked yet.

    `vectors` are raw little-endian float32; `items` and `features` stand in queries of those kinds. `deadline_ms`
    counts from `arrived` (time.monotonic), 0: none.
    """

    kind: QueryKind
    vectors: list[bytes]
    weights: list[float]
    top_k: int
    merge: MergePolicy
    items: ItemQuery = NO_ITEMS
    ef: int | None = None
    nprobe: int | None = None
    exact: bool = False
    exclude_ids: list[int] = field(default_factory=list)
    exclude_text_ids: list[str] = field(default_factory=list)
    return_attributes: list[str] = field(default_factory=list)
    return_vectors: bool = False
    require_version: int = 0
    model_version: str = ""
    filter: str = ""
    min_token: str = ""
    trace: bool = False
    arrived: float = 0.0
    deadline_ms: int = 0
    queued_us: int = 0
    features: dict[str, Feature] = field(default_factory=dict)

    def is_late(self, now: float) -> bool:
        """Whether its deadline has passed at `now`, a moment of time.monotonic()."""
        return self.deadline_ms > 0 and now - self.arrived > self.deadline_ms / MS_PER_SECOND


@dataclass(slots=True)
class Column:
    """One attribute of some rows. `present` is empty when no value is null."""

    name: str
    type: str
    values: list[Any]
    present: list[bool]


@dataclass(slots=True)
class Timing:
    """Where the time of one query went, in microseconds."""

    queue_us: int
    model_us: int
    search_us: int
    merge_us: int
    total_us: int


@dataclass(slots=True)
class Coverage:
    """Ids of a query's items that the version holds and lacks, as the query lists them.

    `weight_covered` is the share of the absolute weights, after decay, that `used` has of all, 0 to 1.
    """

    used: list[Any]
    missing: list[Any]
    weight_covered: float


@dataclass(slots=True)
class Answer:
    """Rows of the answer, best first, and what was asked for about them."""

    rows: Rows
    scores: Floats
    shortfall: int
    found_by: NDArray[np.int32] | None = None
    columns: list[Column] = field(default_factory=list)
    vectors: Floats | None = None
    timing: Timing | None = None
    coverage: Coverage | None = None


Outcome = Answer | ReplicaError
