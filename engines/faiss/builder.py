"""Builds the graph with faiss, a chunk at a time so that progress can be told."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from engines.base import Float32, IndexSpec, Progress
from engines.checks import check_finite, check_room_for_threads, check_spec, check_vectors, parse_params
from engines.chunks import timed_chunks
from engines.errors import BuildFailed, EngineError, IndexMismatch, IndexUnreadable, OutOfMemory
from engines.faiss.header import INDEX_FILE, METRICS, check_head
from engines.faiss.library import keep_to_threads
from engines.faiss.params import DESCRIPTION, FaissParams, links_of_item

# Codes are spread between the least and the greatest value of each dimension in so many rows, over the whole file.
TRAINING_ROWS_MAX = 100_000
LEVELS_SEED_BITS = 32
# How many links all items together need is drawn; it is within so many standard deviations of what is expected.
LINKS_SPARE_DEVIATIONS = 8


class FaissBuilder:
    """Writes one file, the saved graph with its vectors or their codes."""

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:
        """Raises ParamsInvalid, VectorsInvalid, OutOfMemory, BuildFailed."""
        check_spec(spec, DESCRIPTION)
        params = parse_params(FaissParams, spec.params)
        vectors = check_vectors(vectors, spec.dimension)
        keep_to_threads(spec.threads)
        try:
            index = _new(spec, params)
            _train(index, vectors)
            _reserve(index, len(vectors), params.M)
            _add_all(index, vectors, spec.threads, progress)
            _save(index, out_dir / INDEX_FILE, spec, params, len(vectors))
        except (RuntimeError, MemoryError) as error:
            raise _translated(error) from error


def _new(spec: IndexSpec, params: FaissParams) -> faiss.IndexHNSW:
    metric = METRICS[spec.metric]
    if params.storage == "Flat":
        index = faiss.IndexHNSWFlat(spec.dimension, params.M, metric)
    else:
        index = faiss.IndexHNSWSQ(spec.dimension, faiss.ScalarQuantizer.QT_8bit, params.M, metric)
    index.hnsw.efConstruction = params.ef_construction
    index.hnsw.rng = faiss.RandomGenerator(spec.seed % 2**LEVELS_SEED_BITS)
    return index


def _train(index: faiss.IndexHNSW, vectors: Float32) -> None:
    if index.is_trained:
        return
    step = -(-len(vectors) // TRAINING_ROWS_MAX)
    sample = np.ascontiguousarray(vectors[::step])
    check_finite(sample, 0)
    index.train(sample)


def _reserve(index: faiss.IndexHNSW, count: int, links: int) -> None:
    """Room for all items at once: arrays that grow by doubling would hold up to three times what they need."""
    storage = faiss.downcast_index(index.storage)
    _make_room(storage.codes, count * storage.sa_code_size())
    _make_room(index.hnsw.levels, count)
    _make_room(index.hnsw.offsets, count + 1)
    expected = count * links_of_item(links)
    _make_room(index.hnsw.neighbors, ceil(expected + LINKS_SPARE_DEVIATIONS * links * sqrt(count / links)))


def _make_room(array: Any, size: int) -> None:
    """A vector keeps its room when it shrinks."""
    held = array.size()
    array.resize(size)
    array.resize(held)


def _add_all(index: faiss.IndexHNSW, vectors: Float32, threads: int, progress: Progress) -> None:
    for first_row, chunk in timed_chunks(vectors):
        # Each thread marks the items that it has seen.
        check_room_for_threads(threads, first_row + len(chunk))
        # Labels follow the order of insertion: the row numbers.
        index.add(chunk)
        progress(first_row + len(chunk))


def _save(index: faiss.IndexHNSW, path: Path, spec: IndexSpec, params: FaissParams, count: int) -> None:
    faiss.write_index(index, str(path))
    # What the system could not write is not always told; a full disk leaves a short file.
    try:
        check_head(path, spec, params, count)
    except (IndexUnreadable, IndexMismatch) as error:
        raise BuildFailed(f"{error}: is the disk full?") from error


def _translated(error: RuntimeError | MemoryError) -> EngineError:
    if isinstance(error, MemoryError) or "bad_alloc" in str(error):
        return OutOfMemory("the index does not fit into the memory that this build may use")
    return BuildFailed(f"faiss: {error}")
