"""Searches a loaded graph, within what is allowed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import faiss
import numpy as np

from engines.base import Float32, IndexSpec, Int64, SearchEffort
from engines.checks import check_allowed, check_queries, check_spec, check_vectors, ef_of, parse_params
from engines.errors import IndexMismatch, IndexUnreadable, SearcherClosed
from engines.exact import ExactScan
from engines.faiss.header import INDEX_FILE, check_head
from engines.faiss.library import keep_to_threads
from engines.faiss.params import DESCRIPTION, FaissParams
from engines.metrics import best_first, larger_is_better, looked_up
from engines.rowset import RowSet

SAMPLED_ROWS_MAX: Final = 16
# Handing queries to another thread costs about a tenth of a search; fewer for each are searched where they are.
QUERIES_PER_THREAD_MIN: Final = 4
# Of coded vectors so many times top_k are looked up, so that what the codes blur does not cost neighbours.
LOOKED_UP_RATIO: Final = 2


class FaissSearcher:
    """Approximate answers from the graph, exact ones from the vectors beside it."""

    def __init__(self, spec: IndexSpec, index_dir: Path, vectors: Float32) -> None:
        """The caller has verified the file's checksum. Raises ParamsInvalid, VectorsInvalid, IndexUnreadable,
        IndexMismatch."""
        check_spec(spec, DESCRIPTION)
        params = parse_params(FaissParams, spec.params)
        vectors = check_vectors(vectors, spec.dimension)
        self.count, self.dimension = vectors.shape
        self._metric, self._threads = spec.metric, spec.threads
        self._coded = params.storage != "Flat"
        self._vectors = vectors
        self._index: faiss.IndexHNSW | None = _load(spec, params, index_dir / INDEX_FILE, vectors)
        self._scan = ExactScan(vectors, spec.metric)
        self._others = ThreadPoolExecutor(max(1, spec.threads - 1), thread_name_prefix="search")

    def search(
        self, queries: Float32, top_k: int, effort: SearchEffort, allowed: RowSet | None = None
    ) -> tuple[Int64, Float32]:
        """Raises QueryInvalid, SearcherClosed."""
        check_allowed(allowed, self.count, DESCRIPTION)
        queries = check_queries(queries, self.dimension, top_k)
        reach = max(top_k, ef_of(effort))
        index = self._index
        if index is None:
            raise SearcherClosed("this searcher is closed")
        if effort.exact or reach >= self.count:
            return self._scan.search(queries, top_k, allowed)
        rows, scores = self._walk(index, queries, top_k, reach, allowed)
        if allowed is None:
            self._fill(queries, rows, scores)
        return rows, scores

    def rows_held(self, until: float | None = None) -> int:  # noqa: ARG002 - the protocol's
        """All of them are in this process."""
        return int(self.count)

    def close(self) -> None:
        self._index = None
        self._others.shutdown(wait=False)

    def _walk(
        self, index: faiss.IndexHNSW, queries: Float32, top_k: int, reach: int, allowed: RowSet | None
    ) -> tuple[Int64, Float32]:
        """What the graph finds, in as many threads as are worth it."""
        parts = max(1, min(self._threads, len(queries) // QUERIES_PER_THREAD_MIN))
        if parts == 1:
            return self._walk_here(index, queries, top_k, reach, allowed)
        mine, *theirs = np.array_split(queries, parts)
        pending = [self._others.submit(self._walk_here, index, part, top_k, reach, allowed) for part in theirs]
        answers = [self._walk_here(index, mine, top_k, reach, allowed), *(each.result() for each in pending)]
        return np.concatenate([rows for rows, _ in answers]), np.concatenate([scores for _, scores in answers])

    def _walk_here(
        self, index: faiss.IndexHNSW, queries: Float32, top_k: int, reach: int, allowed: RowSet | None
    ) -> tuple[Int64, Float32]:
        keep_to_threads(1)
        selector = None if allowed is None else faiss.IDSelectorBitmap(allowed.bits)
        params = faiss.SearchParametersHNSW(efSearch=reach, sel=selector)
        wanted = min(reach, LOOKED_UP_RATIO * top_k) if self._coded else top_k
        found, rows = index.search(queries, wanted, params=params)
        if self._coded:
            return looked_up(self._vectors, queries, rows, top_k, self._metric)
        # The library's order of equal ones is its heap's.
        return best_first(rows, -found if larger_is_better(self._metric) else found, self._metric)

    def _fill(self, queries: Float32, rows: Int64, scores: Float32) -> None:
        """Answers exactly those queries for which the graph reaches too few, as one torn apart by equal vectors."""
        short = np.flatnonzero(rows[:, -1] < 0)
        if short.size:
            rows[short], scores[short] = self._scan.search(queries[short], rows.shape[1])


def _load(spec: IndexSpec, params: FaissParams, path: Path, vectors: Float32) -> faiss.IndexHNSW:
    check_head(path, spec, params, len(vectors))
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise IndexUnreadable(f"{path.name}: {error}") from error
    _check_vectors_inside(index, vectors)
    return index


def _check_vectors_inside(index: faiss.IndexHNSW, vectors: Float32) -> None:
    """Refuse an index of other vectors, looking at some rows as the index would keep them. Raises IndexMismatch."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, SAMPLED_ROWS_MAX).astype(np.int64))
    inside = np.stack([index.reconstruct(int(row)) for row in rows])
    storage = faiss.downcast_index(index.storage)
    kept = storage.sa_decode(storage.sa_encode(np.ascontiguousarray(vectors[rows])))
    if not np.array_equal(inside, kept):
        raise IndexMismatch("the index was built from other vectors", field="vectors")
