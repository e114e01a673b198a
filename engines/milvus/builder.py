"""Builds a collection in a Milvus instance: rows in batches, flushed, indexed, loaded, counted."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from engines.base import Float32, IndexSpec, Progress
from engines.checks import check_finite, check_spec, check_vectors, parse_params
from engines.errors import BuildFailed, EngineError, ParamsInvalid
from engines.milvus.collection import Collection
from engines.milvus.connection import Instance, instance
from engines.milvus.params import DESCRIPTION, REFERENCE_FILE, MilvusParams
from engines.milvus.placing import building_instance, refuses_connections
from engines.milvus.reference import NAME_PREFIX, Reference

# A server takes messages of 64 MiB by default; smaller ones tell progress, too.
INSERT_BYTES_MAX: Final = 8 * 2**20
INSERT_ROWS_MAX: Final = 10_000
# Of a build's rows, so much is done when all are inserted; the rest as they are indexed.
INSERTED_SHARE: Final = 1 / 4
NAME_BYTES: Final = 10


class MilvusBuilder:
    """Writes one small file that names the collection, then the collection. What fails takes both with it."""

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:
        """Raises ParamsInvalid, also when no instance is configured (`engine`) or it has fewer query
        nodes than `replicas`, VectorsInvalid, EngineUnavailable, BuildFailed."""
        check_spec(spec, DESCRIPTION)
        params = parse_params(MilvusParams, spec.params)
        _check_codes(params, spec.dimension)
        vectors = check_vectors(vectors, spec.dimension)
        where = instance(building_instance(spec.beside, spec.together, spec.own, refuses=refuses_connections))
        # Before there is a name: where nobody could be told of it, nothing can be left that has it.
        where.connect()
        # Nobody else has this name, so that no build and no other platform at this instance meets it.
        collection = Collection(where, f"{NAME_PREFIX}{secrets.token_hex(NAME_BYTES)}")
        Reference(
            instance=where.name,
            collection=collection.name,
            index_type=params.index_type,
            metric=spec.metric,
            dimension=spec.dimension,
            rows=len(vectors),
        ).write(out_dir)
        try:
            collection.create(spec.dimension, f"an index of {len(vectors)} rows of the recall platform")
            _fill(where, collection, spec, params, vectors, _Rising(progress, len(vectors)))
        except BaseException as error:
            _drop_after(collection, out_dir, error)
            raise
        progress(len(vectors))


def _fill(
    where: Instance,
    collection: Collection,
    spec: IndexSpec,
    params: MilvusParams,
    vectors: Float32,
    progress: _Rising,
) -> None:
    """From the flush on, an instance that is away for a while ends nothing; before it, little is lost."""
    rows = len(vectors)
    try:
        _insert_all(collection, vectors, progress)
        where.insist(collection.flush)
        collection.index(
            spec.metric,
            params,
            rows,
            spec.dimension,
            lambda indexed: progress(int(INSERTED_SHARE * rows + (1 - INSERTED_SHARE) * indexed)),
        )
        found = where.insist(lambda: _loaded_rows(collection, params.replicas))
    except EngineError as error:
        # What has a reason of its own keeps it; a server's refusal is a failed build.
        raise BuildFailed(error.message) if type(error) is EngineError else error from error
    if found != rows:
        raise BuildFailed(f"{collection.name} has {found} rows, {rows} were inserted")


def _loaded_rows(collection: Collection, replicas: int) -> int:
    """Loads before each try to count: an instance that has begun anew may have nothing in its memory."""
    collection.load(replicas)
    return collection.count()


def _insert_all(collection: Collection, vectors: Float32, progress: _Rising) -> None:
    step = min(INSERT_ROWS_MAX, max(1, INSERT_BYTES_MAX // vectors[:1].nbytes))
    for first_row in range(0, len(vectors), step):
        chunk = vectors[first_row : first_row + step]
        check_finite(chunk, first_row)
        collection.insert(first_row, chunk)
        progress(int(INSERTED_SHARE * (first_row + len(chunk))))


def _drop_after(collection: Collection, out_dir: Path, error: BaseException) -> None:
    """What ended the build is what people have to read, also where the same keeps the collection from going.

    The file that names it then stays for whoever removes the folder.
    """
    try:
        collection.drop()
        (out_dir / REFERENCE_FILE).unlink()
    except EngineError as left:
        error.add_note(f"its collection {collection.name} is left for later: {left.message}")


class _Rising:
    """Passes on what rises, and never that all is done: that is for the end of the build."""

    def __init__(self, progress: Progress, rows: int) -> None:
        self._progress = progress
        self._most = rows - 1
        self._told = 0

    def __call__(self, rows_done: int) -> None:
        rows_done = min(rows_done, self._most)
        if rows_done > self._told:
            self._told = rows_done
            self._progress(rows_done)


def _check_codes(params: MilvusParams, dimension: int) -> None:
    """A spec that was stored is not checked again. What its index has no use for does no harm."""
    if fault := params.codes_fault(dimension):
        raise ParamsInvalid(f"params.pq_codes: {fault}", field="params.pq_codes")
