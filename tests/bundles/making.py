"""Small drops for the tests of this folder, and what an import made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from bundles.batches import BatchLimits
from bundles.drop import Drop, open_drop
from bundles.importing import import_items
from bundles.report import ImportReport
from bundles.schema import ImportSchema

DIMENSION = 4
INT64 = ImportSchema("int64", DIMENSION, "ip")
COSINE = ImportSchema("int64", DIMENSION, "cosine")
TEXT = ImportSchema("string", DIMENSION, "ip")
# Small enough that every test has several batches.
SMALL = BatchLimits(rows=7, bytes=1 << 20)
NAN = float("nan")


@dataclass(frozen=True)
class Imported:
    """The report and the data files, read back plainly."""

    report: ImportReport
    vectors: np.ndarray[Any, Any]
    ids: list[Any]
    attributes: dict[str, list[Any]]

    def reasons(self) -> list[tuple[str, int, str, Any]]:
        return [(bad.file, bad.row, bad.reason, bad.id) for bad in self.report.bad]


def vectors(rows: int, dimension: int = DIMENSION, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def write_parquet(path: Path, ids: Any, rows: Any, vector_type: pa.DataType | None = None, **columns: Any) -> None:
    """`rows` as a list of float32 unless another type is asked for."""
    listed = [row if row is None else list(row) for row in rows]
    vector = pa.array(listed, vector_type or pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ids, "vector": vector, **columns}), path)


def complete(folder: Path, **manifest: Any) -> None:
    """Writes the marker: a manifest when there is something to say, else _SUCCESS."""
    if manifest:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    else:
        (folder / "_SUCCESS").touch()


def opened(folder: Path, **options: Any) -> Drop:
    """The drop in `folder`, marked complete if it is not."""
    if not (folder / "manifest.json").exists():
        complete(folder)
    return open_drop(folder.parent, folder.name, **options)


def imported(folder: Path, out_dir: Path, schema: ImportSchema = INT64, **options: Any) -> Imported:
    """Imports the drop in `folder` and reads back what it became."""
    report = import_items(opened(folder), schema, out_dir, **{"limits": SMALL, **options})
    return Imported(report, np.load(out_dir / "vectors.npy"), ids_in(out_dir), attributes_in(out_dir))


def ids_in(out_dir: Path) -> list[Any]:
    if (out_dir / "ids.npy").exists():
        found: list[Any] = np.load(out_dir / "ids.npy").tolist()
        return found
    texts: list[Any] = read_arrow(out_dir / "ids.arrow").column("id").to_pylist()
    return texts


def attributes_in(out_dir: Path) -> dict[str, list[Any]]:
    path = out_dir / "attributes.arrow"
    columns: dict[str, list[Any]] = read_arrow(path).to_pydict() if path.exists() else {}
    return columns


def read_arrow(path: Path) -> pa.Table:
    return pa.ipc.open_file(path.read_bytes()).read_all()


def with_attributes(*attributes: tuple[str, str], columns: dict[str, str] | None = None) -> ImportSchema:
    return ImportSchema("int64", DIMENSION, "ip", attributes=attributes, columns=columns or {})


def write_csv(path: Path, header: Sequence[str], *lines: str) -> None:
    path.write_text("\n".join([",".join(header), *lines]) + "\n")
