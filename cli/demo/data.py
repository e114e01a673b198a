"""The demo's items: read from Parquet, delivered as a bad drop, searched exactly to check the platform's answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from demo import drop

if TYPE_CHECKING:
    import numpy as np

DROPS_KEPT = 4


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


def read_items() -> Items:
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(drop.FILE)
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Items(table["id"].to_numpy(), vectors, np.array(table["category"].to_pylist(), dtype=str))


def deliver_without(source: Path, category: str) -> Path:
    """The next drop of the demo's source, which has lost `category`; returns its folder. Sweeps old ones."""
    folder = source / drop.name_at(datetime.now(UTC))
    drop.deliver_without(folder, category)
    _sweep(source)
    return folder


def _sweep(source: Path) -> None:
    """Deletes what earlier demos delivered, but for the newest few."""
    for old in sorted(path for path in source.iterdir() if path.is_dir())[:-DROPS_KEPT]:
        shutil.rmtree(old)
