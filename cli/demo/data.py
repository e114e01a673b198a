"""The demo's items: read from Parquet, delivered as drops, searched exactly to check the platform's answers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import CliError

if TYPE_CHECKING:
    import numpy as np

FILE = Path(__file__).resolve().parents[2] / "demo" / "fashion-mnist-64.parquet"
DROPS_KEPT = 4
DROP_NAME_FORMAT = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Items:
    """Rows of one kind: `ids` int64 [n], `vectors` float32 [n, d] of length 1, `categories` str [n]."""

    ids: np.ndarray
    vectors: np.ndarray
    categories: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def without(self, category: str) -> Items:
        keep = self.categories != category
        return Items(self.ids[keep], self.vectors[keep], self.categories[keep])

    def category_of(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        row_of = {int(one): row for row, one in enumerate(self.ids)}
        return [str(self.categories[row_of[int(one)]]) for one in ids]

    def exact_top(self, queries: np.ndarray, top_k: int) -> np.ndarray:
        """int64 [q, top_k]: ids by cosine, best first, found by comparing with every item."""
        import numpy as np

        scores = queries @ self.vectors.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        found: np.ndarray = self.ids[order]
        return found


def read_items(file: Path = FILE) -> Items:
    """Raises CliError when the file is not there (an installed wheel does not carry it)."""
    import numpy as np
    import pyarrow.parquet as pq

    if not file.is_file():
        raise CliError(f"The demo's data {file} is missing.", remedy="Run the demo from a checkout.")
    table = pq.read_table(file)
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Items(table["id"].to_numpy(), vectors, np.array(table["category"].to_pylist(), dtype=str))


def deliver(source: Path, *, without: str = "", file: Path = FILE) -> Path:
    """Puts a drop into the source as a training job would: items first, the manifest last. Returns its folder."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    if without:
        table = table.filter(pc.not_equal(table["category"], without))
    drop = source / datetime.now(UTC).strftime(DROP_NAME_FORMAT)
    drop.mkdir(parents=True)
    pq.write_table(table, drop / "items-000.parquet")
    manifest = drop / ".manifest.json.new"
    manifest.write_text(json.dumps({"items": ["items-*.parquet"], "count": table.num_rows}))
    os.replace(manifest, drop / "manifest.json")
    _sweep(source)
    return drop


def _sweep(source: Path) -> None:
    """Deletes what earlier demos delivered, but for the newest few."""
    for old in sorted(path for path in source.iterdir() if path.is_dir())[:-DROPS_KEPT]:
        shutil.rmtree(old)
