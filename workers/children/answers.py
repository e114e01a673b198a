"""How alike two versions answer the same queries: exact search over the mapped vectors of both, no index loaded.

Exact, so that what is told is what the data and the model changed, whatever engine and effort each version serves by,
and in memory that does not grow with the items. The same query means the same to both versions in one of three ways,
the first that there is:

features   recorded features, which each version encodes by its own query model
vectors    recorded query vectors, where both versions name the same model
items      items that both have, each version asked by its own vector of them, so that a new model does no harm
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from bundles import layout
from bundles.artifact import Artifact
from bundles.batches import Float32, Int64
from bundles.query_vectors import as_searched
from engines.exact import ExactScan
from engines.metrics import larger_is_better
from querymodel import recorded
from querymodel.errors import QueryModelError
from querymodel.files import MODEL_FILE
from querymodel.model import QueryModel
from querymodel.spec import Features, ModelSpec
from workers.children.id_sets import spread
from workers.children.program import RowsDone

QUERIES_MAX = 200
CHUNK_QUERIES = 20
MODEL_SECONDS_MAX = 10.0
# Queries that callers asked, or might have: not the drop's own items.
ASKED_BY_CALLERS = ("recorded", "item_ids", "live")

Kind = Literal["features", "vectors", "items"]


class VersionData:
    """One version's artifact as it is searched here."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.manifest = artifact, artifact.manifest
        self.schema: dict[str, Any] = self.manifest["schema"]
        self.metric = self.manifest["metric"]
        self.normalized = self.metric == "cosine" or bool(self.schema.get("normalize"))
        self.model_version = str(self.manifest.get("model_version") or "")

    @property
    def space(self) -> tuple[Any, ...]:
        """What must be the same for a vector to mean the same."""
        return (self.artifact.dimension, self.metric, self.normalized, self.model_version)

    @cached_property
    def scan(self) -> ExactScan:
        return ExactScan(self.artifact.vectors()[: self.artifact.searchable_items], self.metric)

    def ids_of(self, rows: Int64) -> list[Any]:
        ids = self.artifact.ids
        found: list[Any] = ids[rows].tolist() if isinstance(ids, np.ndarray) else ids.take(pa.array(rows)).to_pylist()
        return found

    def lacks(self, ids: Sequence[Any]) -> int:
        """How many of them can be no answer here."""
        if not ids:
            return 0
        rows = self.artifact.id_to_rows(ids)
        return int(((rows < 0) | (rows >= self.artifact.searchable_items)).sum())


@dataclass(frozen=True)
class Asked:
    """Queries for both versions, place by place: the vectors [m, d] of each. `leave_out`: an item that is no answer."""

    kind: Kind
    ours: list[Float32] = field(default_factory=list)
    other: list[Float32] = field(default_factory=list)
    leave_out: list[Any] = field(default_factory=list)


class Answer(NamedTuple):
    """Ids, best first, and their scores."""

    ids: list[Any]
    scores: list[float]


@dataclass
class Likeness:
    """Summed over the queries. `gone`: of the other's answers, those that ours lacks because it lacks the item."""

    overlap: float = 0.0
    gone: float = 0.0
    new: float = 0.0
    mean_score: float = 0.0
    other_mean_score: float = 0.0

    def add(self, ours: tuple[VersionData, Answer], other: tuple[VersionData, Answer]) -> None:
        (our_data, our_answer), (other_data, other_answer) = ours, other
        longest = max(1, len(our_answer.ids), len(other_answer.ids))
        both = set(our_answer.ids) & set(other_answer.ids)
        self.overlap += len(both) / longest
        self.gone += our_data.lacks([each for each in other_answer.ids if each not in both]) / longest
        self.new += other_data.lacks([each for each in our_answer.ids if each not in both]) / longest
        self.mean_score += _mean(our_answer.scores)
        self.other_mean_score += _mean(other_answer.scores)


def compare(ours: VersionData, other: VersionData, picked: Sequence[Any], top_k: int, said: RowsDone) -> dict[str, Any]:
    """`picked` are items that both have. With neither queries nor such items, {"queries": 0}."""
    notes: list[str] = []
    asked = _asked(ours, other, picked, notes)
    likeness = Likeness()
    count = len(asked.ours)
    for start in range(0, count, CHUNK_QUERIES):
        part = slice(start, start + CHUNK_QUERIES)
        left_out = asked.leave_out[part]
        answers = _search(ours, asked.ours[part], left_out, top_k)
        for pair in zip(answers, _search(other, asked.other[part], left_out, top_k), strict=True):
            likeness.add((ours, pair[0]), (other, pair[1]))
        said(min(start + CHUNK_QUERIES, count), count)
    means = {name: value / count for name, value in vars(likeness).items()} if count else {}
    if ours.metric != other.metric:
        # Scores of two metrics are no figures of one kind.
        means |= dict.fromkeys(("mean_score", "other_mean_score")) if count else {}
    return {"asked": asked.kind, "queries": count, "at": top_k, "notes": notes, **means}


def _asked(ours: VersionData, other: VersionData, picked: Sequence[Any], notes: list[str]) -> Asked:
    for each in (_by_features(ours, other, notes), _by_vectors(ours, other), _by_items(ours, other, picked)):
        if each is not None:
            return each
    return Asked("items")


def _by_features(ours: VersionData, other: VersionData, notes: list[str]) -> Asked | None:
    spec, other_spec = ModelSpec.of(ours.schema), ModelSpec.of(other.schema)
    path = ours.artifact.path / layout.FEATURES
    if spec is None or other_spec is None or not path.is_file():
        return None
    features = recorded.read(path)
    some = [features[place] for place in spread(len(features), QUERIES_MAX).tolist()]
    try:
        encoded, others = _encode(ours, spec, some), _encode(other, other_spec, some)
    except QueryModelError as error:
        notes.append(f"Recorded features were not asked by: {error.message}.")
        return None
    return _both("features", encoded, others, [None] * len(some))


def _encode(data: VersionData, spec: ModelSpec, features: Sequence[Features]) -> list[Float32 | None]:
    """None for a query that this version cannot encode. Raises QueryModelError when it cannot open its model."""
    batch_max = int((data.manifest.get("query_model") or {}).get("batch_max") or 1)
    folder = data.artifact.path / layout.MODEL_FOLDER
    if not (folder / MODEL_FILE).is_file():
        return [None] * len(features)
    model = QueryModel.open(folder, spec, seconds_max=MODEL_SECONDS_MAX, batch_max=batch_max)
    try:
        found = model.encode(features)
    finally:
        model.close()
    return [_searched(data, each) if isinstance(each, np.ndarray) else None for each in found]


def _by_vectors(ours: VersionData, other: VersionData) -> Asked | None:
    """The newer version's queries, or else the other's; a model that nobody named may be any."""
    if ours.space != other.space or not ours.model_version:
        return None
    for data in (ours, other):
        vectors, source = data.artifact.queries()
        if source in ASKED_BY_CALLERS and len(vectors):
            some = np.array(vectors[spread(len(vectors), QUERIES_MAX)])
            queries = [_searched(data, query[np.newaxis]) for query in some]
            return _both("vectors", queries, queries, [None] * len(queries))
    return None


def _by_items(ours: VersionData, other: VersionData, picked: Sequence[Any]) -> Asked | None:
    some = [picked[place] for place in spread(len(picked), QUERIES_MAX).tolist()]
    if not some:
        return None
    return _both("items", _vectors_of(ours, some), _vectors_of(other, some), some)


def _vectors_of(data: VersionData, ids: Sequence[Any]) -> list[Float32 | None]:
    matrix = np.array(data.artifact.vectors()[data.artifact.id_to_rows(ids)])
    return [_searched(data, each[np.newaxis]) for each in matrix]


def _searched(data: VersionData, vectors: Float32) -> Float32 | None:
    """[m, d] as this version searches them; None when it refuses one."""
    searched = as_searched(vectors, normalized=data.normalized)
    return None if searched.refused else searched.matrix


def _both(
    kind: Kind, ours: Sequence[Float32 | None], other: Sequence[Float32 | None], leave_out: Sequence[Any]
) -> Asked | None:
    """Those queries that both versions can be asked; None when there is none."""
    asked = Asked(kind)
    for our, their, item in zip(ours, other, leave_out, strict=True):
        if our is not None and their is not None:
            asked.ours.append(our)
            asked.other.append(their)
            asked.leave_out.append(item)
    return asked if asked.ours else None


def _search(data: VersionData, queries: Sequence[Float32], leave_out: Sequence[Any], top_k: int) -> Iterator[Answer]:
    """The answer to each query; several vectors of one are merged by an item's best score, as replicas do."""
    wide = top_k + 1  # One more: the item that is asked by is its own best answer.
    rows, scores = data.scan.search(np.concatenate(queries), min(wide, data.artifact.searchable_items))
    start = 0
    for query, item in zip(queries, leave_out, strict=True):
        part = slice(start, start + len(query))
        start += len(query)
        best = _merged(rows[part], scores[part], larger_is_better(data.metric))
        ids = data.ids_of(best.rows[:wide])
        kept = [(each, score) for each, score in zip(ids, best.scores, strict=False) if each != item]
        yield Answer([each for each, _ in kept[:top_k]], [float(score) for _, score in kept[:top_k]])


class _Merged(NamedTuple):
    rows: Int64
    scores: Float32


def _merged(rows: Int64, scores: Float32, larger_better: bool) -> _Merged:
    """Each row of several lists once, with its best score, best first; padding (-1) is left out."""
    is_hit = rows >= 0
    flat_rows, flat_scores = rows[is_hit], scores[is_hit]
    order = np.lexsort((flat_rows, -flat_scores if larger_better else flat_scores))
    ordered = flat_rows[order]
    _, first = np.unique(ordered, return_index=True)
    kept = order[np.sort(first)]
    return _Merged(flat_rows[kept], flat_scores[kept])


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
