"""The files of a drop beside its items: recorded queries, the query model, its vocabularies."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from bundles.errors import DropError
from bundles.files import DropFile
from bundles.manifest import MANIFEST_NAME, DropManifest

DEFAULT_QUERIES = "queries.parquet"
DEFAULT_QUERY_MODEL = "query_model.onnx"
MISSING_SHOWN_MAX = 5


def queries(folder: Path, manifest: DropManifest | None) -> DropFile | None:
    """Recorded queries, if there are any. Raises DropError drop.incomplete, drop.unsafe_path."""
    if manifest and manifest.queries:
        if not os.path.lexists(folder / manifest.queries):
            raise incomplete("queries", [manifest.queries])
        return DropFile.at(folder, manifest.queries)
    try:
        status = os.lstat(folder / DEFAULT_QUERIES)
    except FileNotFoundError:
        return None
    return DropFile.at(folder, DEFAULT_QUERIES) if stat.S_ISREG(status.st_mode) else None


def query_model(folder: Path, manifest: DropManifest | None) -> DropFile:
    """The model that the schema asks for. Raises DropError drop.missing_model, drop.incomplete, drop.unsafe_path."""
    named = manifest.query_model if manifest else ""
    name = named or DEFAULT_QUERY_MODEL
    if os.path.lexists(folder / name):
        return DropFile.at(folder, name)
    if named:
        raise incomplete("query_model", [named])
    message = f"The schema has a query model and the drop has none: {name} is not there, and no manifest names another."
    raise DropError("drop.missing_model", message, {"file": name})


def vocabularies(folder: Path, names: Sequence[str]) -> tuple[DropFile, ...]:
    """Raises DropError drop.missing_vocabulary, drop.unsafe_path."""
    for name in names:
        if not os.path.lexists(folder / name):
            message = f"The schema's query model has the vocabulary {name}, which is not in the drop."
            raise DropError("drop.missing_vocabulary", message, {"file": name})
    return tuple(DropFile.at(folder, name) for name in names)


def incomplete(key: str, missing: Sequence[str]) -> DropError:
    """What the manifest names under `key` is not there."""
    said = " ".join(
        f"{name} is named in {MANIFEST_NAME} and is not in the drop." for name in missing[:MISSING_SHOWN_MAX]
    )
    more = len(missing) - MISSING_SHOWN_MAX
    said += f" And {more} more." if more > 0 else ""
    return DropError("drop.incomplete", said, {"file": MANIFEST_NAME, "key": key, "missing": list(missing)})
