"""What a service can be asked by: vectors (plain arrays), items, features; and a query with options of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from recall_client.requests import Options


class WeightedItem(NamedTuple):
    """One item of an ItemQuery. weight: None counts as 1, a negative one pushes away. timestamp_seconds: Unix time."""

    id: int | str
    weight: float | None = None
    timestamp_seconds: int | None = None


@dataclass(frozen=True)
class ItemQuery:
    """Asks for what resembles some items: the weighted mean of their vectors.

    items: {id: weight}, or ids and tuples (id, weight, timestamp_seconds) of which the end may be left out, mixed as
    you like. half_life_seconds: an item's weight halves with each; 0 for no decay; items without a timestamp do not
    decay. on_missing: what unknown ids do: "skip" passes them over, "fail" refuses the query, "min_coverage" refuses it
    when the known ones hold less than the share `min_coverage` (0 to 1) of the weight. keep_query_items: the items
    asked by may be answers, too.
    """

    items: Iterable[int | str | tuple[Any, ...]] | Mapping[int, float] | Mapping[str, float]
    half_life_seconds: float = 0.0
    on_missing: str = "skip"
    min_coverage: float = 0.0
    keep_query_items: bool = False


@dataclass(frozen=True)
class FeatureQuery:
    """Asks by raw features: the version's own query model makes the vectors.

    features: name -> a number, a text, or a sequence or array of one dimension of either, of the types that the
    schema's inputs have. Whole numbers and booleans travel as int64, others as float32. An empty list travels as int64;
    an empty array says by its dtype what it is.
    """

    features: Mapping[str, Any]


class Query:
    """A query of a batch with options of its own, which go before those of the batch.

    client.batch_recall([Query(vector, exclude=seen[user]) for user, vector in users], top_k=100)
    """

    def __init__(self, query: Any, *, top_k: int | None = None, **options: Unpack[Options]) -> None:
        self.query = query
        self.top_k = top_k
        self.options = options
