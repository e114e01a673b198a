"""An inspection of a remote drop that reads no more of it than it shows: headers, footers and the first rows."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, cast

from bundles import remote
from bundles.drop import Drop, count_rows, inspect_opened
from bundles.errors import DropError
from bundles.files import DropFile, FileStamp, ItemFile
from bundles.inspection import NOTHING_DECIDED, Inspection, Wanted
from bundles.places import RemoteLocation
from bundles.remote import Outline
from bundles.stores import Entry, Store, open_store

BLOCK_BYTES = 1 << 20
# What an inspection reads of all files together.
READ_BYTES_MAX = 64 << 20
# Rows are counted by the files' own headers when there are no more of them than this.
HEADERS_READ_MAX = 16


def inspect(location: RemoteLocation, sample_rows: int, wanted: Wanted = NOTHING_DECIDED) -> Inspection:
    """Of the newest drop, complete or not, or of the place itself. Raises DropError, SourceError."""
    store = open_store(location)
    ref, drops = remote.newest(store, location)
    with tempfile.TemporaryDirectory(prefix="recall-outline-") as folder:
        name = ref.name if ref else location.name
        found = remote.outline(store, location, name, Path(folder), files=wanted.files, allow_unmarked=True)
        drop = replace(found.drop, item_files=_remote_items(store, found))
        return inspect_opened(drop, ref, sample_rows, drops=drops, count=_rows(drop), wanted=wanted)


def _rows(drop: Drop) -> int | None:
    if drop.count is not None or len(drop.item_files) > HEADERS_READ_MAX:
        return drop.count
    return count_rows(drop)


def _remote_items(store: Store, found: Outline) -> tuple[ItemFile, ...]:
    budget = _Budget(READ_BYTES_MAX)

    def there(file: DropFile) -> DropFile:
        entry = found.entries[file.name]
        where = found.place_of(file.name)
        stamp = FileStamp(entry.bytes, 0, 0)
        return _RemoteFile(file.path, file.name, stamp, lambda: _RemoteReader(store, where, entry, budget))

    return tuple(ItemFile(there(item.data), there(item.ids) if item.ids else None) for item in found.drop.item_files)


@dataclass(frozen=True)
class _RemoteFile(DropFile):
    """A file that lies elsewhere and is read there."""

    opener: Callable[[], _RemoteReader]

    def open(self) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(self.opener(), BLOCK_BYTES))

    def check_unchanged(self) -> None:
        self.opener().close()


class _Budget:
    """Bytes that may still be read."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            message = f"The first rows cannot be shown without reading more than {READ_BYTES_MAX} bytes of the drop."
            raise DropError("drop.too_large", message)


class _RemoteReader(io.RawIOBase):
    """Reads ranges of a remote file as it was listed."""

    def __init__(self, store: Store, where: str, entry: Entry, budget: _Budget) -> None:
        super().__init__()
        self._store, self._where, self._bytes, self._budget = store, where, entry.bytes, budget
        self._file: IO[bytes] = store.open(where, entry, BLOCK_BYTES)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._bytes}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._bytes - self._position))
        if count:
            self._budget.spend(count)
            buffer[:count] = self._store.read(self._file, self._where, self._position, count)
            self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
