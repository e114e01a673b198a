"""Which rows a search may answer with: a set of row numbers as bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]

# Row numbers are kept once they were asked for, if they are no more than this share of all rows: they take 64 times the
# memory of their bits, and a larger set is rarely scanned.
KEPT_SHARE_MAX = 1 / 8
ROW_BYTES = 8


class RowSet:
    """An immutable set of rows out of 0 to `size` - 1.

    `bits` [ceil(size / 8)] uint8 holds row r in bit r % 8 (the lowest is 0) of byte r // 8, as C++ libraries and Arrow
    lay it out; bits beyond `size` are 0.
    """

    def __init__(self, bits: UInt8, size: int) -> None:
        if bits.shape != ((size + 7) // 8,):
            raise ValueError(f"{size} rows need {(size + 7) // 8} bytes, not {list(bits.shape)}")
        bits.setflags(write=False)
        self.bits: Final = bits
        self.size: Final = size
        self.count: Final = int(np.bitwise_count(bits).sum(dtype=np.int64))
        self._rows: Int64 | None = None

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> RowSet:
        """The rows at which `mask` [size] is true."""
        return cls(np.packbits(mask, bitorder="little"), len(mask))

    @classmethod
    def everything(cls, size: int) -> RowSet:
        """All rows."""
        bits = np.full((size + 7) // 8, 0xFF, dtype=np.uint8)
        if size % 8:
            bits[-1] = (1 << size % 8) - 1
        return cls(bits, size)

    def without(self, rows: Int64) -> RowSet:
        """This set less `rows`, each of which is within 0 and `size` - 1."""
        bits = self.bits.copy()
        np.bitwise_and.at(bits, rows >> 3, ~(1 << (rows & 7)).astype(np.uint8))
        fewer = RowSet(bits, self.size)
        if self._rows is not None:
            fewer._rows = self._rows[fewer.holds(self._rows)]
        return fewer

    def part(self, first: int, end: int) -> RowSet:
        """Those rows from `first` to `end` - 1, counted from `first`."""
        if first % 8 == 0 and end == self.size:
            return RowSet(self.bits[first // 8 :], end - first)
        # Only its own bytes are unpacked: an index in many partitions asks for each of them at every search.
        own, skipped = self.bits[first // 8 : (end + 7) // 8], first % 8
        mask = np.unpackbits(own, count=skipped + end - first, bitorder="little")
        return RowSet.of_mask(mask[skipped:].view(np.bool_))

    def holds(self, rows: Int64) -> NDArray[np.bool_]:
        """Whether each of `rows` (any shape) is in the set; a row of -1 is not."""
        found: NDArray[np.bool_] = (self.bits[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).astype(np.bool_)
        return found & (rows >= 0)

    @property
    def rows(self) -> Int64:
        """The rows [count] int64, ascending."""
        if self._rows is not None:
            return self._rows
        rows = np.flatnonzero(self.mask).astype(np.int64, copy=False)
        if self._keeps_rows:
            self._rows = rows
        return rows

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Whether each row [size] is in the set, unpacked anew each time."""
        return np.unpackbits(self.bits, count=self.size, bitorder="little").view(np.bool_)

    @property
    def held_bytes(self) -> int:
        """The most memory that this set comes to hold."""
        return self.bits.nbytes + (ROW_BYTES * self.count if self._keeps_rows else 0)

    @property
    def _keeps_rows(self) -> bool:
        return self.count <= KEPT_SHARE_MAX * self.size
