"""What a call gives back: frozen dataclasses whose columns are numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recall_client.details import Details
from recall_client.errors import RecallError, from_code


@dataclass(frozen=True)
class Timings:
    """Microseconds in the platform; only for calls with `trace=True`."""

    queue_us: int
    model_us: int
    search_us: int
    merge_us: int
    total_us: int


@dataclass(frozen=True)
class Coverage:
    """What became of the items that an ItemQuery asked by: `used` and `missing` are ids, as in `Answer.ids`.

    `weight_covered`: the share of the weight that the used ones hold, 0 to 1.
    """

    used: np.ndarray
    missing: np.ndarray
    weight_covered: float


@dataclass(frozen=True)
class Answer:
    """One ranked list, best first; every column has one entry for each item.

    `ids`: int64 [n], or objects [n] of str when the schema's ids are strings; of an empty answer always int64 [0].
    `scores`: float32 [n]; for ip and cosine larger is better, for l2 it is the squared distance. `found_by`: int32
    [n], which query vector found the item; empty for a single vector. `attributes`: name -> array [n] of objects,
    None where an item has no value. `vectors`: float32 [n, d], or None when they were not asked for. `shortfall`: how
    many fewer than `top_k` could be given. `coverage`: of an ItemQuery, else None.
    """

    version: int
    ids: np.ndarray
    scores: np.ndarray
    found_by: np.ndarray
    attributes: dict[str, np.ndarray]
    vectors: np.ndarray | None
    model_version: str
    degraded: bool
    shortfall: int
    replica: str
    timings: Timings | None
    coverage: Coverage | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Items:
    """Items by id, of one version: columns as in `Answer`; `missing` holds the ids that the version does not have."""

    version: int
    ids: np.ndarray
    attributes: dict[str, np.ndarray]
    vectors: np.ndarray | None
    missing: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ItemsCount:
    """`searchable_items` may be answers; the others are query items only."""

    version: int
    items: int
    searchable_items: int


@dataclass(frozen=True)
class ModelInput:
    """One feature. `type`: int64, float32, string or bool.

    `max_length`: 0 for exactly one value, else of a list, which is cut as `truncate` says (keep_last, keep_first, fail)
    when it is longer. `unknown`: what a value that the vocabulary lacks does (fail, drop, index).
    """

    name: str
    type: str
    max_length: int
    truncate: str
    has_vocabulary: bool
    unknown: str


@dataclass(frozen=True)
class QueryModel:
    """What the features of a FeatureQuery are. `vectors`: how many query vectors the model makes of them."""

    vectors: int
    inputs: tuple[ModelInput, ...]


@dataclass(frozen=True)
class Schema:
    """`attributes`: (name, type) of each. `query_model`: None where queries by features are not answered."""

    id_type: str
    dimension: int
    metric: str
    normalize: bool
    attributes: tuple[tuple[str, str], ...]
    query_model: QueryModel | None = None


@dataclass(frozen=True)
class VersionInfo:
    version: int
    model_version: str
    items: int


@dataclass(frozen=True)
class Limits:
    """Of the whole service. `qps`: queries per second, a batch counts each of its queries."""

    qps: float
    concurrency: int
    max_top_k: int
    max_ef: int
    allow_exact: bool


@dataclass(frozen=True)
class ServiceInfo:
    """`previous` is the other version that is loaded and can be gone back to, or None."""

    service: str
    schema: Schema
    live: VersionInfo | None
    previous: VersionInfo | None
    limits: Limits


def answer_of(message: Any) -> Answer:
    """Answer from a RecallResponse."""
    return Answer(
        version=message.version,
        ids=_ids(message),
        scores=np.fromiter(message.scores, dtype=np.float32, count=len(message.scores)),
        found_by=np.fromiter(message.found_by, dtype=np.int32, count=len(message.found_by)),
        attributes=_attributes(message.attributes),
        vectors=_vectors(message.vectors),
        model_version=message.model_version,
        degraded=message.degraded,
        shortfall=message.shortfall,
        replica=message.replica,
        timings=_timings(message.timings) if message.HasField("timings") else None,
        coverage=_coverage(message.coverage) if message.HasField("coverage") else None,
    )


def batch_of(message: Any) -> list[Answer | RecallError]:
    """An Answer or an error for each result of a BatchRecallResponse, in order."""
    return [_result_of(result) for result in message.results]


def items_of(message: Any) -> Items:
    """Items from a GetItemsResponse."""
    return Items(
        version=message.version,
        ids=_ids(message),
        attributes=_attributes(message.attributes),
        vectors=_vectors(message.vectors),
        missing=_ids(message.missing),
    )


def count_of(message: Any) -> ItemsCount:
    return ItemsCount(message.version, message.items, message.searchable_items)


def info_of(message: Any) -> ServiceInfo:
    """ServiceInfo from a GetServiceInfoResponse."""
    schema, limits = message.schema, message.limits
    return ServiceInfo(
        service=message.service,
        schema=Schema(
            id_type=schema.id_type,
            dimension=schema.dimension,
            metric=schema.metric,
            normalize=schema.normalize,
            attributes=tuple((attribute.name, attribute.type) for attribute in schema.attributes),
            query_model=_query_model(schema.query_model) if schema.HasField("query_model") else None,
        ),
        live=_version(message.live) if message.HasField("live") else None,
        previous=_version(message.previous) if message.HasField("previous") else None,
        limits=Limits(limits.qps, limits.concurrency, limits.max_top_k, limits.max_ef, limits.allow_exact),
    )


def _result_of(result: Any) -> Answer | RecallError:
    if result.WhichOneof("result") == "response":
        return answer_of(result.response)
    error = result.error
    return from_code(error.code, error.message, Details(reason=error.reason, field=error.field))


def _query_model(message: Any) -> QueryModel:
    inputs = (
        ModelInput(each.name, each.type, each.max_length, each.truncate, each.has_vocabulary, each.unknown)
        for each in message.inputs
    )
    return QueryModel(message.vectors, tuple(inputs))


def _version(message: Any) -> VersionInfo:
    return VersionInfo(message.version, message.model_version, message.items)


def _timings(message: Any) -> Timings:
    return Timings(message.queue_us, message.model_us, message.search_us, message.merge_us, message.total_us)


def _coverage(message: Any) -> Coverage:
    return Coverage(_ids(message.used), _ids(message.missing), message.weight_covered)


def _ids(message: Any) -> np.ndarray:
    if message.text_ids:
        return _objects(message.text_ids)
    return np.fromiter(message.ids, dtype=np.int64, count=len(message.ids))


def _attributes(columns: Any) -> dict[str, np.ndarray]:
    return {column.name: _column(column) for column in columns}


def _column(column: Any) -> np.ndarray:
    kind = column.WhichOneof("values")
    values = list(getattr(column, kind).values) if kind else []
    if kind == "string_lists":
        values = [list(value.values) for value in values]
    if column.present:
        values = [value if column.present[row] else None for row, value in enumerate(values)]
    return _objects(values)


def _objects(values: Any) -> np.ndarray:
    # Filled one by one: numpy would make a matrix of lists that happen to have one length.
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return column


def _vectors(vectors: Any) -> np.ndarray | None:
    if not vectors:
        return None
    packed = all(vector.WhichOneof("data") == "packed" for vector in vectors)
    if packed:
        flat = np.frombuffer(b"".join(vector.packed for vector in vectors), dtype="<f4")
        return flat.reshape(len(vectors), -1)
    return np.array([list(vector.values.values) for vector in vectors], dtype=np.float32)
