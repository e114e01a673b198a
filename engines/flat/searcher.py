"""Searches the mapped vectors themselves."""

from __future__ import annotations

from pathlib import Path

from engines.base import Float32, IndexSpec, Int64, SearchEffort
from engines.checks import check_allowed, check_queries, check_spec, check_vectors, parse_params
from engines.errors import SearcherClosed
from engines.exact import ExactScan
from engines.flat.params import DESCRIPTION, FlatParams
from engines.rowset import RowSet


class FlatSearcher:
    """Exact answers at any effort."""

    def __init__(self, spec: IndexSpec, index_dir: Path, vectors: Float32) -> None:  # noqa: ARG002
        """Raises ParamsInvalid, VectorsInvalid. `index_dir` holds nothing and is not looked at."""
        check_spec(spec, DESCRIPTION)
        parse_params(FlatParams, spec.params)
        vectors = check_vectors(vectors, spec.dimension)
        self.count, self.dimension = vectors.shape
        self._scan: ExactScan | None = ExactScan(vectors, spec.metric)
        # The first caller shall not pay for the pass over all rows.
        self._scan.prepare()

    def search(
        self,
        queries: Float32,
        top_k: int,
        effort: SearchEffort,  # noqa: ARG002 - any effort is full effort
        allowed: RowSet | None = None,
    ) -> tuple[Int64, Float32]:
        """Raises QueryInvalid, SearcherClosed."""
        scan = self._scan
        if scan is None:
            raise SearcherClosed("this searcher is closed")
        check_allowed(allowed, self.count, DESCRIPTION)
        return scan.search(check_queries(queries, self.dimension, top_k), top_k, allowed)

    def rows_held(self, until: float | None = None) -> int:  # noqa: ARG002 - the protocol's
        """All of them are in this process."""
        return int(self.count)

    def close(self) -> None:
        self._scan = None
