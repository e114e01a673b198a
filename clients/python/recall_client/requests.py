"""From Python values to the gateway's messages. Nothing is checked here that the gateway checks better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Union

import numpy as np

from recall_client.hedging import NOT_HEDGED
from recall_client.queries import FeatureQuery, ItemQuery, Query, WeightedItem
from recallpb.v1 import recall_pb2

MERGES = {
    "max": recall_pb2.MAX,
    "weighted_sum": recall_pb2.WEIGHTED_SUM,
    "round_robin": recall_pb2.ROUND_ROBIN,
}
ON_MISSING = {
    "skip": recall_pb2.SKIP,
    "fail": recall_pb2.FAIL,
    "min_coverage": recall_pb2.MIN_COVERAGE,
}

# Evaluated at run time, where Python 3.9 has no `|` of types.
Ids = Union[Iterable[int], Iterable[str], np.ndarray]  # noqa: UP007


class Options(TypedDict, total=False):
    """What a query may ask for beside what it asks by.

    filter: an expression over attributes that answers must satisfy, such as `year >= 1990 and genre contains "noir"`.
    exclude: ids that must not be in the answer. weights: one for each vector of the query. merge: "max",
    "weighted_sum" or "round_robin", how the lists of several vectors become one. ef, nprobe: search effort. exact:
    search everything. return_attributes, return_vectors: what to tell of each item. require_version: only this version
    may answer. model_version: the model that made the vectors. trace: tell where the time went.
    """

    filter: str
    exclude: Ids
    weights: Sequence[float] | np.ndarray
    merge: str
    ef: int
    nprobe: int
    exact: bool
    return_attributes: Sequence[str]
    return_vectors: bool
    require_version: int
    model_version: str
    trace: bool


def full_name(service: str | None) -> str:
    """`films/similar` -> `tenants/films/services/similar`; a full name stays as it is."""
    if not service:
        raise ValueError("Name the service, here or when the client is made: 'tenant/service'.")
    tenant, slash, name = service.partition("/")
    return f"tenants/{tenant}/services/{name}" if slash and "/" not in name else service


def recall_request(service: str, query: Any, top_k: int, **options: Any) -> recall_pb2.RecallRequest:
    """`query`: vectors [d] or [m, d], an ItemQuery, a FeatureQuery, or a Query of one of them. `options`: of Options.

    Raises ValueError and TypeError for what no message can hold.
    """
    if isinstance(query, Query):
        top_k = top_k if query.top_k is None else query.top_k
        return recall_request(service, query.query, top_k, **{**options, **query.options})
    request = recall_pb2.RecallRequest(service=service, top_k=top_k)
    _ask_by(request, query, options.pop("weights", ()))
    _ask_for(request, **options)
    return request


def batch_request(service: str, queries: Iterable[Any], top_k: int, **options: Any) -> recall_pb2.BatchRecallRequest:
    """`queries`: [n, d], or [n, m, d], or any sequence of what `recall_request` takes; `options` hold for each."""
    requests = [recall_request("", query, top_k, **options) for query in queries]
    return recall_pb2.BatchRecallRequest(service=service, requests=requests)


def items_request(
    service: str, ids: Ids, *, return_attributes: Sequence[str] = (), return_vectors: bool = False
) -> recall_pb2.GetItemsRequest:
    return recall_pb2.GetItemsRequest(
        service=service, items=item_ids(ids), return_attributes=return_attributes, return_vectors=return_vectors
    )


def item_ids(ids: Ids) -> recall_pb2.ItemIds:
    """int ids or text ids, told by the first one. Raises TypeError for one text: its letters would be taken for ids."""
    if isinstance(ids, (str, bytes)):
        raise TypeError(f"ids must be several ids, such as [{ids!r}], not one text.")
    values: list[Any] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    return (
        recall_pb2.ItemIds(text_ids=values) if values and isinstance(values[0], str) else recall_pb2.ItemIds(ids=values)
    )


def kind_of(request: recall_pb2.RecallRequest) -> str:
    """The kind of call for `Hedging`: queries of one kind cost about the same; an exact search costs too much."""
    return NOT_HEDGED if request.params.exact else f"Recall by {request.WhichOneof('query')}"


def _ask_by(request: recall_pb2.RecallRequest, query: Any, weights: Any) -> None:
    if not isinstance(query, (ItemQuery, FeatureQuery)):
        request.vectors.CopyFrom(recall_pb2.VectorQuery(vectors=_vectors(query), weights=weights))
        return
    if len(weights):
        raise ValueError("weights are of several query vectors; the items of an ItemQuery have their own.")
    if isinstance(query, ItemQuery):
        request.items.CopyFrom(_item_query(query))
    else:
        request.features.CopyFrom(_feature_query(query))


def _ask_for(
    request: recall_pb2.RecallRequest,
    *,
    filter: str = "",
    exclude: Ids = (),
    merge: str = "max",
    ef: int | None = None,
    nprobe: int | None = None,
    exact: bool = False,
    return_attributes: Sequence[str] = (),
    return_vectors: bool = False,
    require_version: int = 0,
    model_version: str = "",
    trace: bool = False,
) -> None:
    request.filter = filter
    request.exclude.CopyFrom(item_ids(exclude))
    request.merge = _one_of(MERGES, merge, "merge")
    # Absent, and not 0, when nothing is asked for.
    request.params.CopyFrom(recall_pb2.SearchParams(exact=exact, ef=ef, nprobe=nprobe))
    request.return_attributes.extend(return_attributes)
    request.return_vectors = return_vectors
    request.require_version = require_version
    request.model_version = model_version
    request.trace = trace


def _vectors(vectors: Any) -> list[recall_pb2.Vector]:
    matrix = np.atleast_2d(np.asarray(vectors, dtype="<f4"))
    if matrix.ndim != 2:
        raise ValueError(f"vectors must have the shape [d] or [m, d], not {list(matrix.shape)}.")
    return [recall_pb2.Vector(packed=row.tobytes()) for row in matrix]


def _item_query(query: ItemQuery) -> recall_pb2.ItemQuery:
    if isinstance(query.items, (str, bytes)):
        raise TypeError(f"items must be several items, such as [{query.items!r}], not one text.")
    if query.min_coverage and query.on_missing != "min_coverage":
        raise ValueError(f"min_coverage says nothing with on_missing={query.on_missing!r}; set it to 'min_coverage'.")
    items: Iterable[Any] = query.items.items() if isinstance(query.items, Mapping) else query.items
    return recall_pb2.ItemQuery(
        items=[_weighted_item(item) for item in items],
        half_life_seconds=query.half_life_seconds,
        on_missing=_one_of(ON_MISSING, query.on_missing, "on_missing"),
        min_coverage=query.min_coverage,
        keep_query_items=query.keep_query_items,
    )


def _weighted_item(item: Any) -> recall_pb2.WeightedItem:
    key, weight, timestamp_seconds = WeightedItem(*item) if isinstance(item, tuple) else WeightedItem(item)
    message = recall_pb2.WeightedItem(weight=weight, timestamp_seconds=timestamp_seconds)
    if isinstance(key, str):
        message.text_id = key
    else:
        message.id = key
    return message


def _feature_query(query: FeatureQuery) -> recall_pb2.FeatureQuery:
    return recall_pb2.FeatureQuery(features={name: _feature(name, value) for name, value in query.features.items()})


def _feature(name: str, value: Any) -> recall_pb2.Feature:
    try:
        values = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"The feature {name} must be a value or a list of values: {error}") from error
    if values.ndim > 1:
        raise ValueError(f"The feature {name} must be a value or a list of values, not of shape {list(values.shape)}.")
    plain = np.atleast_1d(values).tolist()
    if values.dtype.kind in "iub" or (not plain and not isinstance(value, np.ndarray)):
        return recall_pb2.Feature(ints=recall_pb2.Int64List(values=map(int, plain)))
    if values.dtype.kind == "f":
        return recall_pb2.Feature(floats=recall_pb2.FloatList(values=plain))
    # As they were given: numpy would make a text of a number beside texts.
    given = np.atleast_1d(np.asarray(value, dtype=object)).tolist()
    if values.dtype.kind in "UO" and all(isinstance(each, str) for each in given):
        return recall_pb2.Feature(strings=recall_pb2.StringList(values=given))
    raise ValueError(f"The feature {name} must hold numbers or texts, all of one kind.")


def _one_of(words: Mapping[str, int], word: str, option: str) -> Any:
    if word not in words:
        raise ValueError(f"{option} must be one of {', '.join(words)}, not {word!r}.")
    return words[word]
