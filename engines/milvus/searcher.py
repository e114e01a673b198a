"""Searches a collection, and the mapped vectors where the collection could not answer."""

from __future__ import annotations

import time
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np

from engines.base import Float32, IndexSpec, Int64, SearchEffort
from engines.checks import check_allowed, check_queries, check_spec, check_vectors, ef_of, parse_params
from engines.errors import DeadlineOver, IndexMismatch, IndexUnreadable, QueryInvalid, SearcherClosed
from engines.exact import ExactScan
from engines.metrics import best_first, blank_answer, larger_is_better, looked_up
from engines.milvus.collection import Collection
from engines.milvus.connection import CollectionGone, instance
from engines.milvus.params import DESCRIPTION, NLIST_MAX, TOP_K_AT_SERVER_MAX, MilvusParams, probes
from engines.milvus.reference import read_reference
from engines.rowset import RowSet

# No server takes more queries in a call.
QUERIES_PER_CALL_MAX: Final = 16_384
# Of all queries of a call together, so that its answer stays below 8 MiB.
HITS_PER_CALL_MAX: Final = 500_000
SAMPLED_ROWS_MAX: Final = 16
# A graph finds less of what lies at the edge of its reach, and servers refuse one that ends before the last hit
# (measured with 20,000 x 16, the best 50 among a tenth of all: recall 0.9795 with 1.0).
REACH_RATIO: Final = 1.25
# Of coded vectors so many times top_k are looked up, so that what the codes blur does not cost neighbours.
LOOKED_UP_RATIO: Final = 4
# Who found too little in its cells is asked for again in so many that they hold so many times what is wanted: cells are
# not of one size, and a scan of all rows costs by how many there are.
HELD_RATIO: Final = 4


class MilvusSearcher:
    """Approximate answers from the collection, exact ones from the vectors beside it."""

    def __init__(self, spec: IndexSpec, index_dir: Path, vectors: Float32) -> None:
        """Raises ParamsInvalid, VectorsInvalid, IndexUnreadable (also when the collection is gone), IndexMismatch,
        EngineUnavailable."""
        check_spec(spec, DESCRIPTION)
        self._params = parse_params(MilvusParams, spec.params)
        vectors = check_vectors(vectors, spec.dimension)
        self.count, self.dimension = vectors.shape
        self._metric, self._vectors = spec.metric, vectors
        self._coded = self._params.index_type == "IVF_PQ"
        self._collection: Collection | None = _open(spec, self._params, index_dir, vectors)
        self._scan = ExactScan(vectors, spec.metric)

    def search(
        self, queries: Float32, top_k: int, effort: SearchEffort, allowed: RowSet | None = None
    ) -> tuple[Int64, Float32]:
        """Raises QueryInvalid, SearcherClosed, EngineUnavailable, DeadlineOver, EngineError."""
        check_allowed(allowed, self.count, DESCRIPTION)
        queries = check_queries(queries, self.dimension, top_k)
        ef, nprobe = ef_of(effort), _nprobe_of(effort)
        collection = self._collection
        if collection is None:
            raise SearcherClosed("this searcher is closed")
        if effort.exact or top_k >= self.count or top_k > TOP_K_AT_SERVER_MAX:
            return self._scan.search(queries, top_k)
        rows, scores = self._ask_all(collection, queries, top_k, ef, nprobe, effort.until)
        short = _short(rows)
        if short.size and (further := self._further(top_k, ef, nprobe)):
            _check_time(effort.until)
            found = self._ask_all(collection, queries[short], top_k, ef, further, effort.until)
            rows[short], scores[short] = found
            short = _short(rows)
        if short.size:
            # In cells that are nearly empty, or in a torn graph.
            rows[short], scores[short] = self._scan.search(queries[short], top_k, until=effort.until)
        return rows, scores

    def rows_held(self, until: float | None = None) -> int:
        """By the server's own count: what it lost is found by scans of the vectors here, so that no answer tells it."""
        collection = self._collection
        if collection is None:
            raise SearcherClosed("this searcher is closed")
        return collection.count_loaded(until)

    def close(self) -> None:
        """The collection stays where it is, for whoever opens it next."""
        self._collection = None

    def _ask_all(
        self,
        collection: Collection,
        queries: Float32,
        top_k: int,
        ef: int,
        nprobe: int | None,
        until: float | None,
    ) -> tuple[Int64, Float32]:
        """In as many calls as keep each within its bounds."""
        rows, scores = blank_answer(len(queries), top_k)
        step = min(QUERIES_PER_CALL_MAX, max(1, HITS_PER_CALL_MAX // self._wanted(top_k)))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            rows[part], scores[part] = self._ask(collection, queries[part], top_k, ef, nprobe, until)
        return rows, scores

    def _ask(
        self,
        collection: Collection,
        queries: Float32,
        top_k: int,
        ef: int,
        nprobe: int | None,
        until: float | None,
    ) -> tuple[Int64, Float32]:
        wanted = self._wanted(top_k)
        reach = _reach(ef, wanted)
        how = {"ef": reach, "nprobe": probes(self._params, self.count, reach, nprobe)}
        rows, scores = collection.search(queries, wanted, how, until)
        if self._coded:
            return looked_up(self._vectors, queries, rows, top_k, self._metric)
        # Servers order equal ones as they please.
        return best_first(rows, -scores if larger_is_better(self._metric) else scores, self._metric)

    def _wanted(self, top_k: int) -> int:
        """How many hits the server is asked for."""
        return min(LOOKED_UP_RATIO * top_k, TOP_K_AT_SERVER_MAX, self.count) if self._coded else top_k

    def _further(self, top_k: int, ef: int, nprobe: int | None) -> int | None:
        """How many cells hold enough for those that found too little; None where no more cells would help."""
        if not self._params.in_cells:
            return None
        wanted, cells = self._wanted(top_k), self._params.cells(self.count)
        named = probes(self._params, self.count, _reach(ef, wanted), nprobe)
        further = min(cells, max(HELD_RATIO * named, ceil(HELD_RATIO * wanted * cells / self.count)))
        return further if further > named else None


def _short(rows: Int64) -> Int64:
    """Which queries have fewer hits than were wanted of them."""
    return np.flatnonzero(rows[:, -1] < 0)


def _reach(ef: int, wanted: int) -> int:
    return max(ef, ceil(REACH_RATIO * wanted))


def _check_time(until: float | None) -> None:
    """Raises DeadlineOver: asked now, a server that answers well would be called silent."""
    if until is not None and time.monotonic() >= until:
        raise DeadlineOver("the deadline passed before all cells that were needed were looked into")


def _nprobe_of(effort: SearchEffort) -> int | None:
    if effort.nprobe is not None and not 1 <= effort.nprobe <= NLIST_MAX:
        raise QueryInvalid(f"nprobe: {effort.nprobe} is not within 1 and {NLIST_MAX}", field="nprobe")
    return effort.nprobe


def _open(spec: IndexSpec, params: MilvusParams, index_dir: Path, vectors: Float32) -> Collection:
    reference = read_reference(index_dir)
    reference.check(spec, params, len(vectors))
    collection = Collection(instance(reference.instance), reference.collection)
    try:
        collection.load(params.replicas)
        _check_rows_inside(collection, vectors)
    except CollectionGone as error:
        message = f"the collection {reference.collection} is gone from the instance {reference.instance}"
        raise IndexUnreadable(message) from error
    return collection


def _check_rows_inside(collection: Collection, vectors: Float32) -> None:
    """Refuse a collection of other vectors, looking at some rows. Raises IndexMismatch."""
    found = collection.count()
    if found != len(vectors):
        raise IndexMismatch(f"the index has items {found}, expected {len(vectors)}", field="items")
    rows = np.unique(np.linspace(0, len(vectors) - 1, SAMPLED_ROWS_MAX).astype(np.int64))
    inside = collection.vectors_of(rows)
    if not all(row in inside and np.array_equal(inside[row], vectors[row]) for row in rows.tolist()):
        raise IndexMismatch("the index was built from other vectors", field="vectors")
