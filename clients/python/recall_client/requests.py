"""From Python values to the gateway's messages. Nothing is checked here that the gateway checks better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, Union

import numpy as np

from recallpb.v1 import recall_pb2

MERGES = {
    "max": recall_pb2.MAX,
    "weighted_sum": recall_pb2.WEIGHTED_SUM,
    "round_robin": recall_pb2.ROUND_ROBIN,
}

# Evaluated at run time, where Python 3.9 has no `|` of types.
Ids = Union[Iterable[int], Iterable[str]]  # noqa: UP007


class Options(TypedDict, total=False):
    """What a query may ask for beside its vectors.

    weights: one for each vector of the query. merge: "max", "weighted_sum" or "round_robin", how the lists of several
    vectors become one. exclude: ids that must not be in the answer. ef: search effort. exact: search everything.
    require_version: only this version may answer. model_version: the model that made the vectors.
    """

    weights: Sequence[float]
    merge: str
    exclude: Ids
    ef: int
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


def recall_request(
    service: str,
    vectors: Any,
    top_k: int,
    *,
    weights: Sequence[float] = (),
    merge: str = "max",
    exclude: Ids = (),
    ef: int | None = None,
    exact: bool = False,
    return_attributes: Sequence[str] = (),
    return_vectors: bool = False,
    require_version: int = 0,
    model_version: str = "",
    trace: bool = False,
) -> recall_pb2.RecallRequest:
    """`vectors`: [d] for one query vector, [m, d] for several of one query."""
    matrix = np.atleast_2d(np.asarray(vectors, dtype="<f4"))
    if matrix.ndim != 2:
        raise ValueError(f"vectors must have the shape [d] or [m, d], not {list(matrix.shape)}.")
    if merge not in MERGES:
        raise ValueError(f"merge must be one of {', '.join(MERGES)}, not {merge!r}.")
    params = recall_pb2.SearchParams(exact=exact)
    if ef is not None:
        params.ef = ef
    return recall_pb2.RecallRequest(
        service=service,
        vectors=recall_pb2.VectorQuery(
            vectors=[recall_pb2.Vector(packed=row.tobytes()) for row in matrix], weights=weights
        ),
        top_k=top_k,
        exclude=item_ids(exclude),
        params=params,
        merge=MERGES[merge],
        return_attributes=return_attributes,
        return_vectors=return_vectors,
        require_version=require_version,
        model_version=model_version,
        trace=trace,
    )


def batch_request(service: str, queries: Iterable[Any], top_k: int, **options: Any) -> recall_pb2.BatchRecallRequest:
    """`queries`: [n, d], or [n, m, d], or any sequence of [d] and [m, d]; `options` hold for each."""
    requests = [recall_request("", query, top_k, **options) for query in queries]
    return recall_pb2.BatchRecallRequest(service=service, requests=requests)


def items_request(
    service: str, ids: Ids, *, return_attributes: Sequence[str] = (), return_vectors: bool = False
) -> recall_pb2.GetItemsRequest:
    return recall_pb2.GetItemsRequest(
        service=service, items=item_ids(ids), return_attributes=return_attributes, return_vectors=return_vectors
    )


def item_ids(ids: Ids) -> recall_pb2.ItemIds:
    """int ids or text ids, told by the first one."""
    values: tuple[Any, ...] = tuple(ids)
    if values and isinstance(values[0], str):
        return recall_pb2.ItemIds(text_ids=values)
    return recall_pb2.ItemIds(ids=[int(value) for value in values])
