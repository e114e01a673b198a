"""Builds the graph with hnswlib, a chunk at a time so that progress can be told."""

from __future__ import annotations

import mmap
import resource
import time
from pathlib import Path

import hnswlib

from engines.base import Float32, IndexSpec, Progress
from engines.checks import check_finite, check_spec, check_vectors, parse_params
from engines.errors import BuildFailed, EngineError, OutOfMemory
from engines.hnsw.header import INDEX_FILE, SPACES
from engines.hnsw.params import DESCRIPTION, HnswParams

# A chunk aims at this time: long beside starting its threads and waiting for the last of them, short for a reader.
CHUNK_SECONDS = 0.5
CHUNK_ROWS_MIN = 1_000
CHUNK_ROWS_MAX = 20_000
# What a thread's stack takes where the system names no limit for it.
STACK_BYTES_DEFAULT = 8 * 2**20


class HnswBuilder:
    """Writes one file, the saved graph with its vectors."""

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:
        """Raises ParamsInvalid, VectorsInvalid, OutOfMemory, BuildFailed."""
        check_spec(spec, DESCRIPTION)
        params = parse_params(HnswParams, spec.params)
        vectors = check_vectors(vectors, spec.dimension)
        index = hnswlib.Index(space=SPACES[spec.metric], dim=spec.dimension)
        try:
            index.init_index(len(vectors), params.M, params.ef_construction, random_seed=spec.seed)
            _add_all(index, vectors, spec.threads, progress)
            _save(index, out_dir / INDEX_FILE)
        except (RuntimeError, MemoryError) as error:
            raise _translated(error) from error


def _add_all(index: hnswlib.Index, vectors: Float32, threads: int, progress: Progress) -> None:
    done, size = 0, CHUNK_ROWS_MIN
    while done < len(vectors):
        started = time.perf_counter()
        chunk = vectors[done : done + size]
        check_finite(chunk, done)
        _check_room_for_threads(threads)
        # Labels follow the order of insertion: the row numbers.
        index.add_items(chunk, num_threads=threads)
        done += len(chunk)
        size = _next_size(len(chunk), time.perf_counter() - started)
        progress(done)


def _check_room_for_threads(threads: int) -> None:
    """hnswlib aborts the process, without a word, when only some of its threads find room for their stacks."""
    if threads == 1:
        return  # It works in this thread.
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    stack_bytes = STACK_BYTES_DEFAULT if limit == resource.RLIM_INFINITY else limit
    try:
        mmap.mmap(-1, threads * stack_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise OutOfMemory(f"{threads} threads have no room in the memory that this build may use") from error


def _next_size(rows: int, seconds: float) -> int:
    return min(CHUNK_ROWS_MAX, max(CHUNK_ROWS_MIN, int(rows * CHUNK_SECONDS / max(seconds, 1e-6))))


def _save(index: hnswlib.Index, path: Path) -> None:
    index.save_index(str(path))
    # hnswlib does not look whether its writes succeeded; a full disk leaves a short file.
    written, expected = path.stat().st_size, index.index_file_size()
    if written != expected:
        raise BuildFailed(f"{path.name} has {written} bytes instead of {expected}: is the disk full?")


def _translated(error: RuntimeError | MemoryError) -> EngineError:
    """hnswlib says in a RuntimeError's text that an allocation failed."""
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return OutOfMemory("the index does not fit into the memory that this build may use")
    return BuildFailed(f"hnswlib: {error}")
