"""One version in memory: its searcher, ids, attributes and vectors, after every checksum was verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bundles.artifact import Artifact, open_artifact
from bundles.errors import ArtifactError
from engines import registry
from engines.base import IndexSearcher, IndexSpec
from engines.errors import EngineError
from engines.rowset import RowSet
from replicas.errors import LoadError
from replicas.filters.matcher import Matcher
from replicas.model_loading import open_query_model
from replicas.queries import Floats, Rows
from replicas.schema import VersionSchema
from replicas.settings import MODEL_MS_MAX
from replicas.subsets import SubsetSearch

if TYPE_CHECKING:
    from querymodel.model import QueryModel


@dataclass(frozen=True)
class LoadedVersion:
    """What answering needs of one version. Row numbers are the words between its parts."""

    schema: VersionSchema
    manifest_sha256: str
    searcher: IndexSearcher
    vectors: Floats
    ids: Rows | pa.Array
    attributes: pa.Table | None
    artifact: Artifact
    matcher: Matcher
    subsets: SubsetSearch
    query_model: QueryModel | None = None

    def rows_of(self, ids: Sequence[int] | Sequence[str]) -> Rows:
        """The row of each id, -1 where the version has no such item."""
        return self.artifact.id_to_rows(ids)

    def searchable_rows(self, ids: Sequence[int] | Sequence[str]) -> Rows:
        """Rows of those ids that could be in an answer, each once."""
        return self.answerable(self.rows_of(ids))

    def answerable(self, rows: Rows) -> Rows:
        """Those of `rows` that could be in an answer, each once; -1 is none."""
        there = (rows >= 0) & (rows < self.schema.searchable_items)
        return np.unique(rows[there])

    @cached_property
    def all_searchable(self) -> RowSet:
        """Every row that could be in an answer."""
        return RowSet.everything(self.schema.searchable_items)

    def ids_of(self, rows: Rows) -> list[Any]:
        """The id of each row: int, or str when the schema says so."""
        if isinstance(self.ids, np.ndarray):
            numbers: list[int] = self.ids[rows].tolist()
            return numbers
        texts: list[str] = self.ids.take(pa.array(rows)).to_pylist()
        return texts

    def close(self) -> None:
        self.searcher.close()
        if self.query_model is not None:
            self.query_model.close()


def load(path: Path, manifest_sha256: str, *, search_threads: int, model_ms_max: int = MODEL_MS_MAX) -> LoadedVersion:
    """Verify the artifact, then open its index and its query model, whose runs take at most `model_ms_max`.

    Raises LoadError; nothing is loaded from a damaged artifact.
    """
    try:
        artifact = open_artifact(path, manifest_sha256)
        schema = VersionSchema.of(artifact.manifest)
        vectors = np.asarray(artifact.vectors())
        searcher = _open_searcher(artifact.index_dir, schema, vectors, search_threads)
    except (ArtifactError, EngineError) as error:
        raise LoadError(error.reason, str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise LoadError("artifact.bad_manifest", f"the manifest lacks or garbles {error}") from error
    _check_shape(searcher, schema)
    attributes = artifact.attributes if schema.attributes else None
    searchable = vectors[: schema.searchable_items]
    return LoadedVersion(
        schema=schema,
        manifest_sha256=manifest_sha256,
        searcher=searcher,
        vectors=vectors,
        ids=artifact.ids if schema.text_ids else np.asarray(artifact.ids),
        attributes=attributes,
        artifact=artifact,
        matcher=Matcher(attributes, schema.attributes, schema.searchable_items),
        subsets=SubsetSearch(searcher, searchable, schema.metric, registry.describe(schema.engine)),
        query_model=open_query_model(path, schema, ms_max=model_ms_max),
    )


def _open_searcher(index_dir: Path, schema: VersionSchema, vectors: Floats, search_threads: int) -> IndexSearcher:
    spec = IndexSpec(
        metric=schema.metric,
        dimension=schema.dimension,
        partitions=schema.partitions,
        threads=search_threads,
        params=schema.engine_params,
    )
    return registry.open_searcher(schema.engine, spec, index_dir, vectors[: schema.searchable_items])


def _check_shape(searcher: IndexSearcher, schema: VersionSchema) -> None:
    if (searcher.count, searcher.dimension) != (schema.searchable_items, schema.dimension):
        message = (
            f"the index holds {searcher.count} x {searcher.dimension}, "
            f"the manifest says {schema.searchable_items} x {schema.dimension}"
        )
        raise LoadError("artifact.count_mismatch", message)
