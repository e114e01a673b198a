"""The items of an import or an artifact, as ids find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bundles import ids, layout
from bundles.batches import Float32, Int64


@dataclass(frozen=True)
class Lookup:
    """From ids to rows. `keys` [items] are sorted, `rows` [items] the row of each; `texts` are the ids when they are
    texts, row by row, None when they are int64.
    """

    keys: Int64
    rows: Int64
    texts: pa.Array | None

    @classmethod
    def of(cls, folder: Path) -> Lookup:
        """What `import_items` wrote into `folder` of ids; arrays are memory maps."""
        has_texts = (folder / layout.IDS_ARROW).is_file()
        texts = table(folder / layout.IDS_ARROW).column(0).chunk(0) if has_texts else None
        return cls(array(folder / layout.ID_KEYS), array(folder / layout.ID_ROWS), texts)

    def rows_of(self, wanted: Int64 | Sequence[int] | Sequence[str]) -> Int64:
        """The row of each id, -1 for one that is not here; ids of the type that the items have."""
        if self.texts is None:
            return ids.find_integers(self.keys, self.rows, np.asarray(wanted, np.int64))
        return ids.find_texts(self.keys, self.rows, self.texts, pa.array(list(wanted), pa.large_string()))


@dataclass(frozen=True)
class Catalogue:
    """Every item, whether it may be an answer or not: vectors float32 [items, d] as they are stored, and their ids."""

    vectors: Float32
    lookup: Lookup

    @classmethod
    def of(cls, folder: Path) -> Catalogue:
        """What `import_items` wrote into `folder`; arrays are memory maps."""
        return cls(array(folder / layout.VECTORS), Lookup.of(folder))


def array(path: Path) -> Any:
    """A .npy file as a memory map. Raises OSError or ValueError."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def table(path: Path) -> pa.Table:
    """An Arrow file as a memory map. Raises OSError or pa.ArrowException."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
