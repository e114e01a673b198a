"""Artifacts: a version's files in one folder, listed with their checksums in a manifest that is written last.

`publish` makes a work folder durable and gives it its final name; `open_artifact` trusts nothing before it has seen
every byte. A folder without a manifest is no artifact.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bundles import catalogue, layout
from bundles.batches import Float32, Int64
from bundles.checksums import FORMAT, check_keys, read_manifest, sha256_of, verify_files, walk_files
from bundles.durable import sync_folder, sync_folders
from bundles.errors import ArtifactError
from failpoints import failpoint


@dataclass(frozen=True)
class Published:
    """Where an artifact lies now; `manifest_sha256` (hex) is what it is opened with."""

    path: Path
    manifest_sha256: str
    bytes: int


def publish(work_dir: Path, final_dir: Path, manifest: Mapping[str, Any]) -> Published:
    """Lists every file of `work_dir` in the manifest, makes all of it durable and renames it to `final_dir`.

    Both lie on one file system. Can run twice as long as the rename has not happened. Raises ArtifactError:
    artifact.exists when there is something at `final_dir`, artifact.bad_manifest when the manifest lacks a key,
    artifact.unsafe_path for a link, artifact.publish_failed when the disk refuses.
    """
    check_keys({**manifest, "files": {}})
    if os.path.lexists(final_dir):
        raise ArtifactError("artifact.exists", f"{final_dir} exists; an artifact is never written over.")
    failpoint("publish.after_files")
    try:
        (work_dir / layout.MANIFEST).unlink(missing_ok=True)
        listed = {name: _listed(work_dir / name) for name in walk_files(work_dir)}
        failpoint("publish.after_checksums")
        payload = json.dumps({**manifest, "format": FORMAT, "files": listed}, indent=1, sort_keys=True).encode()
        sync_folders(work_dir)
        failpoint("publish.before_manifest")
        _write_durably(work_dir / layout.MANIFEST, payload)
        failpoint("publish.after_manifest")
        sync_folder(work_dir)
        final_dir.parent.mkdir(parents=True, exist_ok=True)
        failpoint("publish.before_rename")
        os.rename(work_dir, final_dir)
        failpoint("publish.after_rename")
        sync_folder(final_dir.parent)
    except OSError as error:
        raise _publish_error(final_dir, error) from error
    total = len(payload) + sum(each["bytes"] for each in listed.values())
    return Published(final_dir, hashlib.sha256(payload).hexdigest(), total)


def open_artifact(path: Path, expected_manifest_sha256: str, *, with_index: bool = True) -> Artifact:
    """Verifies the manifest against its checksum, then every file against the manifest, and only then opens it.

    Who does not read the index saves its checksums, which are most of the work.

    Raises ArtifactError: artifact.not_found, artifact.checksum_mismatch, artifact.bad_manifest,
    artifact.unknown_format, artifact.unsafe_path, artifact.unlisted_file, artifact.missing_file,
    artifact.size_mismatch, artifact.inconsistent.
    """
    manifest = read_manifest(path, expected_manifest_sha256)
    verify_files(path, manifest["files"], unread=None if with_index else layout.INDEX_FOLDER)
    artifact = Artifact(path, manifest)
    artifact.check_shapes()
    return artifact


class Artifact:
    """An opened artifact. Arrays are memory maps: they cost address space until they are touched."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def items(self) -> int:
        return int(self.manifest["items"])

    @property
    def searchable_items(self) -> int:
        return int(self.manifest["searchable_items"])

    @property
    def dimension(self) -> int:
        return int(self.manifest["dimension"])

    @property
    def metric(self) -> str:
        return str(self.manifest["metric"])

    @property
    def id_type(self) -> str:
        return "string" if layout.IDS_ARROW in self.manifest["files"] else "int64"

    @property
    def index_dir(self) -> Path:
        return self.path / layout.INDEX_FOLDER

    def vectors(self) -> Float32:
        """float32 [items, d]; the first `searchable_items` rows are what an index covers."""
        return self._vectors

    @cached_property
    def ids(self) -> Int64 | pa.Array:
        """The id of each row: int64 [items], or a large_string array."""
        if self.id_type == "int64":
            return self._array(layout.IDS_NPY)
        return self._table(layout.IDS_ARROW).column(0).chunk(0)

    def id_to_rows(self, wanted: Int64 | Sequence[int] | Sequence[str]) -> Int64:
        """The row of each id, -1 for one that is not here; ids of the artifact's id type."""
        texts = None if self.id_type == "int64" else self.ids
        return catalogue.Lookup(*self._keys, texts).rows_of(wanted)

    @cached_property
    def attributes(self) -> pa.Table | None:
        """A column for each attribute of the schema, one chunk each, row by row; None without attributes."""
        return self._table(layout.ATTRIBUTES) if layout.ATTRIBUTES in self.manifest["files"] else None

    def queries(self) -> tuple[Float32, str]:
        """Queries to warm up with, float32 [q, d], and their source: `bundles.queries.QueriesSource`."""
        return self._array(layout.QUERIES), str(self.manifest.get("queries_source", ""))

    def known(self) -> tuple[Float32, Int64] | None:
        """Queries [c, d] and the rows [c, 10] that this index answered when it was checked."""
        if layout.KNOWN_QUERIES not in self.manifest["files"]:
            return None
        return self._array(layout.KNOWN_QUERIES), self._array(layout.KNOWN_ROWS)

    def sampled_rows(self) -> Int64:
        """Rows [s] that this index found among the first 10 when asked by themselves; none in older artifacts."""
        if layout.SAMPLED_ROWS not in self.manifest["files"]:
            return np.empty(0, dtype=np.int64)
        rows: Int64 = self._array(layout.SAMPLED_ROWS)
        return rows

    def check_shapes(self) -> None:
        """Raises ArtifactError artifact.inconsistent when the files are not of the sizes the manifest says."""
        try:
            keys, rows = self._keys
            lengths = [len(self.ids), len(keys), len(rows)]
            lengths += [self.attributes.num_rows] if self.attributes is not None else []
            fits = self._vectors.shape == (self.items, self.dimension) and set(lengths) == {self.items}
            fits = fits and self._vectors.dtype == np.float32 and 0 <= self.searchable_items <= self.items
        except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
            raise ArtifactError("artifact.inconsistent", f"{self.path.name} lacks a part: {error}") from error
        if not fits:
            message = f"The files of {self.path.name} do not have the sizes that its manifest says."
            raise ArtifactError("artifact.inconsistent", message)

    @cached_property
    def _vectors(self) -> Float32:
        vectors: Float32 = self._array(layout.VECTORS)
        return vectors

    @cached_property
    def _keys(self) -> tuple[Int64, Int64]:
        return self._array(layout.ID_KEYS), self._array(layout.ID_ROWS)

    def _array(self, name: str) -> Any:
        return catalogue.array(self.path / name)

    def _table(self, name: str) -> pa.Table:
        return catalogue.table(self.path / name)


def _listed(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest, size = sha256_of(file)
        os.fsync(file.fileno())
    return {"sha256": digest, "bytes": size}


def _write_durably(path: Path, payload: bytes) -> None:
    with path.open("wb") as file:
        file.write(payload)
        failpoint("publish.within_manifest")
        file.flush()
        os.fsync(file.fileno())


def _publish_error(final_dir: Path, error: OSError) -> ArtifactError:
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) and os.path.lexists(final_dir):
        return ArtifactError("artifact.exists", f"{final_dir} exists; an artifact is never written over.")
    message = f"{final_dir.name} could not be published: {error}"
    return ArtifactError("artifact.publish_failed", message, {"errno": errno.errorcode.get(error.errno or 0, "")})
