"""Searches a loaded graph."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np

from engines.base import Float32, IndexSpec, Int64, SearchEffort
from engines.checks import check_allowed, check_queries, check_spec, check_vectors, ef_of, parse_params
from engines.errors import IndexMismatch, IndexUnreadable, SearcherClosed
from engines.exact import ExactScan
from engines.graph import GraphParams
from engines.hnsw.header import INDEX_FILE, SPACES, check_head
from engines.hnsw.params import DESCRIPTION
from engines.metrics import blank_answer, larger_is_better
from engines.rowset import RowSet

# hnswlib's ef belongs to the index, not to a call, and changing it under another caller spoils that caller's answer.
# So it is set once, lower than any effort, and the effort is asked for as k: same cost, same recall.
EF_AT_LOAD = 1
SAMPLED_ROWS_MAX = 16

# hnswlib refuses a whole call when it reaches fewer than k items for one of its queries, as in a graph that many equal
# vectors have torn apart. A refused call never gives its result buffers back: 12 bytes for each hit asked for. So
# refusals have a budget, after which nothing is asked that may be refused.
LOST_BYTES_PER_HIT = 12
LOST_BYTES_MAX = 64 * 2**20


class HnswSearcher:
    """Approximate answers from the graph, exact ones from the vectors beside it."""

    def __init__(self, spec: IndexSpec, index_dir: Path, vectors: Float32) -> None:
        """The caller has verified the file's checksum: hnswlib's loader crashes on damaged files.

        Raises ParamsInvalid, VectorsInvalid, IndexUnreadable, IndexMismatch.
        """
        check_spec(spec, DESCRIPTION)
        vectors = check_vectors(vectors, spec.dimension)
        self.count, self.dimension = vectors.shape
        self._metric, self._threads = spec.metric, spec.threads
        self._index: hnswlib.Index | None = _load(spec, index_dir / INDEX_FILE, vectors)
        self._scan = ExactScan(vectors, spec.metric)
        self._refused_from = self.count  # The least k that was ever refused. Who wants all never asks the graph.
        self._lost_bytes = 0

    def search(
        self, queries: Float32, top_k: int, effort: SearchEffort, allowed: RowSet | None = None
    ) -> tuple[Int64, Float32]:
        """Raises QueryInvalid, SearcherClosed."""
        check_allowed(allowed, self.count, DESCRIPTION)
        queries = check_queries(queries, self.dimension, top_k)
        wanted = max(top_k, ef_of(effort))
        index = self._index
        if index is None:
            raise SearcherClosed("this searcher is closed")
        if effort.exact or wanted >= self.count:
            return self._scan.search(queries, top_k)
        if wanted < self._refused_from:
            try:
                return self._walk(index, queries, wanted, top_k)
            except RuntimeError:
                self._note_refusal(wanted, len(queries))
        return self._one_by_one(index, queries, wanted, top_k)

    def rows_held(self, until: float | None = None) -> int:  # noqa: ARG002 - the protocol's
        """All of them are in this process."""
        return int(self.count)

    def close(self) -> None:
        self._index = None

    def _walk(self, index: hnswlib.Index, queries: Float32, wanted: int, top_k: int) -> tuple[Int64, Float32]:
        # Starting threads costs more than one search.
        threads = self._threads if len(queries) > 1 else 1
        labels, distances = index.knn_query(queries, k=wanted, num_threads=threads)
        rows = labels[:, :top_k].astype(np.int64)
        costs = distances[:, :top_k]
        # hnswlib's distance for an inner product is 1 - product.
        return rows, (1 - costs if larger_is_better(self._metric) else costs.copy())

    def _one_by_one(self, index: hnswlib.Index, queries: Float32, wanted: int, top_k: int) -> tuple[Int64, Float32]:
        """Answers exactly those queries, and only those, for which the graph reaches too few."""
        rows, scores = blank_answer(len(queries), top_k)
        for i in range(len(queries)):
            found = self._one(index, queries[i : i + 1], wanted, top_k)
            rows[i], scores[i] = found[0][0], found[1][0]
        return rows, scores

    def _one(self, index: hnswlib.Index, query: Float32, wanted: int, top_k: int) -> tuple[Int64, Float32]:
        if self._lost_bytes < LOST_BYTES_MAX:
            try:
                return self._walk(index, query, wanted, top_k)
            except RuntimeError:
                self._note_refusal(wanted, 1)
        return self._scan.search(query, top_k)

    def _note_refusal(self, wanted: int, queries: int) -> None:
        self._refused_from = min(self._refused_from, wanted)
        self._lost_bytes += queries * wanted * LOST_BYTES_PER_HIT


def _load(spec: IndexSpec, path: Path, vectors: Float32) -> hnswlib.Index:
    params = parse_params(GraphParams, spec.params)
    check_head(path, count=len(vectors), dimension=spec.dimension, links=params.M)
    index = hnswlib.Index(space=SPACES[spec.metric], dim=spec.dimension)
    try:
        index.load_index(str(path))
    except RuntimeError as error:
        raise IndexUnreadable(f"{path.name}: {error}") from error
    index.set_ef(EF_AT_LOAD)
    _check_vectors_inside(index, vectors)
    return index


def _check_vectors_inside(index: hnswlib.Index, vectors: Float32) -> None:
    """Refuse an index of other vectors, looking at some rows. Raises IndexMismatch."""
    count = index.get_current_count()
    rows = np.unique(np.linspace(0, len(vectors) - 1, SAMPLED_ROWS_MAX).astype(np.int64))
    try:
        inside = index.get_items(rows)
    except RuntimeError as error:
        raise IndexMismatch(f"the index lacks a row: {error}", field="items") from error
    if count != len(vectors) or not np.array_equal(np.asarray(inside), vectors[rows]):
        raise IndexMismatch("the index was built from other vectors", field="vectors")
