"""Builds the graph with hnswlib, a chunk at a time so that progress can be told."""

from __future__ import annotations

from pathlib import Path

import hnswlib

from engines.base import Float32, IndexSpec, Progress
from engines.checks import check_room_for_threads, check_spec, check_vectors, parse_params
from engines.chunks import timed_chunks
from engines.errors import BuildFailed, EngineError, OutOfMemory
from engines.graph import GraphParams
from engines.hnsw.header import INDEX_FILE, SPACES
from engines.hnsw.params import DESCRIPTION


class HnswBuilder:
    """Writes one file, the saved graph with its vectors."""

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:
        """Raises ParamsInvalid, VectorsInvalid, OutOfMemory, BuildFailed."""
        check_spec(spec, DESCRIPTION)
        params = parse_params(GraphParams, spec.params)
        vectors = check_vectors(vectors, spec.dimension)
        index = hnswlib.Index(space=SPACES[spec.metric], dim=spec.dimension)
        try:
            index.init_index(len(vectors), params.M, params.ef_construction, random_seed=spec.seed)
            _add_all(index, vectors, spec.threads, progress)
            _save(index, out_dir / INDEX_FILE)
        except (RuntimeError, MemoryError) as error:
            raise _translated(error) from error


def _add_all(index: hnswlib.Index, vectors: Float32, threads: int, progress: Progress) -> None:
    for first_row, chunk in timed_chunks(vectors):
        check_room_for_threads(threads)
        # Labels follow the order of insertion: the row numbers.
        index.add_items(chunk, num_threads=threads)
        progress(first_row + len(chunk))


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
