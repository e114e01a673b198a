"""Builds nothing: the vectors are the index. Reads them once, so that what cannot be searched fails here."""

from __future__ import annotations

from pathlib import Path

from engines.base import Float32, IndexSpec, Progress
from engines.checks import check_finite, check_spec, check_vectors, parse_params
from engines.flat.params import DESCRIPTION, FlatParams

CHUNK_ROWS = 65_536


class FlatBuilder:
    """Checks the vectors and writes no files."""

    def build(self, spec: IndexSpec, vectors: Float32, out_dir: Path, progress: Progress) -> None:  # noqa: ARG002
        """Raises ParamsInvalid, VectorsInvalid. `out_dir` stays as it is."""
        check_spec(spec, DESCRIPTION)
        parse_params(FlatParams, spec.params)
        vectors = check_vectors(vectors, spec.dimension)
        for first_row in range(0, len(vectors), CHUNK_ROWS):
            chunk = vectors[first_row : first_row + CHUNK_ROWS]
            check_finite(chunk, first_row)
            progress(first_row + len(chunk))
