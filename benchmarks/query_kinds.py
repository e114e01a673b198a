"""The ways to ask a recall service, each as requests over one made catalogue, and how a right answer looks.

Ids are row numbers. The vectors that are asked by are those that the query model makes of the features that are asked
by, so that both kinds have the same searches done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.data import Float32
from benchmarks.load import TOP_K, has_top_k, make_payloads
from benchmarks.platform import NAME
from querymodel.spec import Features
from recallpb.v1 import recall_pb2

SEVERAL_VECTORS = 4
QUERY_ITEMS = (1, 50)
# A history is of one taste: of so many items, which are the nearest ones to a vector.
TASTE_ITEMS = 200
ASKED_ITEMS, BATCH = 50, 64
EXCLUDED = 10_000
# Of the items, the tenths of a percent that a filter selects.
SELECTED_PER_MILLE = (500, 100, 10, 1)
CALLERS = (4, 16)
MAKERS = 5_000
# Of requests that are large or take long to make.
FEW = 64
VECTORS, FEATURES = "vectors (1)", "features"

Attributes = dict[str, tuple[str, pa.Array]]


@dataclass(frozen=True)
class Asked:
    """What queries are made of: `features` of users, `vectors` [users, d] that the model makes of them."""

    features: Sequence[Features]
    vectors: Float32


@dataclass(frozen=True)
class Catalogue:
    """The items [n, d]; `per_mille` [n] is an attribute by which any share of them can be selected."""

    vectors: Float32
    per_mille: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, vectors: Float32, seed: int) -> Catalogue:
        return cls(vectors, np.random.default_rng(seed).permutation(len(vectors)) % 1_000)

    def attributes(self, seed: int) -> Attributes:
        """(type, values) by name."""
        rng = np.random.default_rng(seed)
        makers = pa.array([f"maker {number}" for number in range(MAKERS)])
        return {
            "per_mille": ("int64", pa.array(self.per_mille)),
            "price": ("float64", pa.array(rng.uniform(0, 100, len(self.vectors)))),
            "maker": ("string", makers.take(pa.array(rng.integers(0, MAKERS, len(self.vectors))))),
        }


@dataclass(frozen=True)
class Kind:
    """One way to ask: serialised requests of `rpc` that are asked in turn, by so many callers at once."""

    name: str
    rpc: str
    payloads: list[bytes]
    is_right: Callable[[bytes], bool]
    callers: int = 1


def kinds(asked: Asked, catalogue: Catalogue, seed: int) -> list[Kind]:
    """All of them."""
    rng = np.random.default_rng(seed)
    few = asked.vectors[:FEW]
    alone = _recall(VECTORS, map(_vector, asked.vectors), has_top_k)
    return [
        # Next to each other, because their difference is read.
        alone,
        _recall(FEATURES, map(_features, asked.features), has_top_k),
        *(replace(alone, name=f"{VECTORS}, {callers} callers", callers=callers) for callers in CALLERS),
        *_by_several(asked.vectors),
        *_by_items(catalogue, few, rng),
        *_filtered(asked.vectors, catalogue),
        _excluding(few, len(catalogue.vectors), rng),
        _recall("exact", (_vector(each, params=recall_pb2.SearchParams(exact=True)) for each in few), has_top_k),
        _returning(asked.vectors),
        Kind(f"BatchRecall({BATCH})", "BatchRecall", make_payloads(asked.vectors, NAME, BATCH), _is_full_batch),
        _get_items(len(catalogue.vectors), rng),
        _count_items(len(catalogue.vectors)),
    ]


def _recall(name: str, requests: Iterable[recall_pb2.RecallRequest], is_right: Callable[[bytes], bool]) -> Kind:
    return Kind(name, "Recall", [request.SerializeToString() for request in requests], is_right)


def _vector(*vectors: Float32, **fields: Any) -> recall_pb2.RecallRequest:
    asked = recall_pb2.VectorQuery(
        vectors=[recall_pb2.Vector(packed=vector.astype("<f4").tobytes()) for vector in vectors]
    )
    return recall_pb2.RecallRequest(service=NAME, top_k=TOP_K, vectors=asked, **fields)


def _features(features: Features) -> recall_pb2.RecallRequest:
    sent = {
        "profile": recall_pb2.Feature(floats=recall_pb2.FloatList(values=features["profile"].values)),
        "history": recall_pb2.Feature(ints=recall_pb2.Int64List(values=features["history"].values)),
    }
    return recall_pb2.RecallRequest(service=NAME, top_k=TOP_K, features=recall_pb2.FeatureQuery(features=sent))


def _by_several(vectors: Float32) -> Iterator[Kind]:
    groups = [vectors.take(range(start, start + SEVERAL_VECTORS), axis=0, mode="wrap") for start in range(len(vectors))]

    def is_right(message: bytes) -> bool:
        answer = recall_pb2.RecallResponse.FromString(message)
        return len(answer.ids) == len(answer.found_by) == TOP_K and set(answer.found_by) <= set(range(SEVERAL_VECTORS))

    for merge, number in recall_pb2.Merge.items():
        requests = (_vector(*group, merge=number) for group in groups)
        yield _recall(f"vectors ({SEVERAL_VECTORS}), {merge}", requests, is_right)


def _by_items(catalogue: Catalogue, vectors: Float32, rng: np.random.Generator) -> Iterator[Kind]:
    nearest = [np.argpartition(-(catalogue.vectors @ vector), TASTE_ITEMS)[:TASTE_ITEMS] for vector in vectors]
    for count in QUERY_ITEMS:
        histories = [rng.choice(taste, count, replace=False).tolist() for taste in nearest]
        requests = (
            recall_pb2.RecallRequest(
                service=NAME,
                top_k=TOP_K,
                items=recall_pb2.ItemQuery(items=[recall_pb2.WeightedItem(id=item) for item in history]),
            )
            for history in histories
        )
        yield _recall(f"items ({count})", requests, _covers(count))


def _covers(count: int) -> Callable[[bytes], bool]:
    def is_right(message: bytes) -> bool:
        answer = recall_pb2.RecallResponse.FromString(message)
        used = set(answer.coverage.used.ids)
        return len(answer.ids) == TOP_K and len(used) == count and used.isdisjoint(answer.ids)

    return is_right


def _filtered(vectors: Float32, catalogue: Catalogue) -> Iterator[Kind]:
    for share in SELECTED_PER_MILLE:
        requests = (_vector(vector, filter=f"per_mille < {share}") for vector in vectors)
        yield _recall(f"filter, {share / 10:g} %", requests, _selects(catalogue, share))


def _selects(catalogue: Catalogue, share: int) -> Callable[[bytes], bool]:
    wanted = min(TOP_K, int((catalogue.per_mille < share).sum()))

    def is_right(message: bytes) -> bool:
        ids = list(recall_pb2.RecallResponse.FromString(message).ids)
        return len(ids) == wanted and bool((catalogue.per_mille[ids] < share).all())

    return is_right


def _excluding(vectors: Float32, items: int, rng: np.random.Generator) -> Kind:
    """Ids drawn from all: what a user has seen of a whole catalogue, of which little is near to one query."""
    count = min(EXCLUDED, items // 2)
    excluded = [rng.choice(items, count, replace=False).tolist() for _ in vectors]
    requests = (
        _vector(vector, exclude=recall_pb2.ItemIds(ids=ids)) for vector, ids in zip(vectors, excluded, strict=True)
    )
    return _recall(f"excluding {count:,} ids", requests, has_top_k)


def _returning(vectors: Float32) -> Kind:
    names = ["per_mille", "price", "maker"]

    def is_right(message: bytes) -> bool:
        answer = recall_pb2.RecallResponse.FromString(message)
        return len(answer.vectors) == TOP_K and [column.name for column in answer.attributes] == names

    requests = (_vector(vector, return_attributes=names, return_vectors=True) for vector in vectors)
    return _recall("returning attributes, vectors", requests, is_right)


def _is_full_batch(message: bytes) -> bool:
    results = recall_pb2.BatchRecallResponse.FromString(message).results
    return [len(result.response.ids) for result in results] == [TOP_K] * BATCH


def _get_items(items: int, rng: np.random.Generator) -> Kind:
    def is_right(message: bytes) -> bool:
        answer = recall_pb2.GetItemsResponse.FromString(message)
        return len(answer.ids) == len(answer.vectors) == ASKED_ITEMS

    requests = (
        recall_pb2.GetItemsRequest(
            service=NAME,
            items=recall_pb2.ItemIds(ids=rng.choice(items, ASKED_ITEMS, replace=False).tolist()),
            return_vectors=True,
        )
        for _ in range(FEW)
    )
    return Kind(f"GetItems({ASKED_ITEMS})", "GetItems", [each.SerializeToString() for each in requests], is_right)


def _count_items(items: int) -> Kind:
    def is_right(message: bytes) -> bool:
        return bool(recall_pb2.CountItemsResponse.FromString(message).items == items)

    request = recall_pb2.CountItemsRequest(service=NAME)
    return Kind("CountItems", "CountItems", [request.SerializeToString()], is_right)
