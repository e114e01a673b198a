"""Brings a remote drop's files into a folder of a build: a few at a time, in blocks, each complete or not there.

    SPOOL/.parts/3                       a file that is under way
    SPOOL/<fingerprint>/<source>/...     complete ones, under the fingerprint of the listing that they belong to

What an earlier attempt brought under the same fingerprint is taken over. Each file is read as it was listed, or the
drop has changed; when all are here the place is listed once more.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bundles import remote
from bundles.drop import SUCCESS_MARKER, Drop, open_drop
from bundles.errors import DropError, SourceError
from bundles.manifest import MANIFEST_NAME
from bundles.places import RemoteLocation
from bundles.remote import Outline
from bundles.stores import Store, open_store

FETCHES_AT_ONCE_MAX = 4
BLOCK_BYTES = 8 << 20
FETCH_BYTES_MAX = 512 << 30
# Left free on the disk of the builds: other builds write there too.
FREE_BYTES_MIN = 1 << 30
PARTS = ".parts"
OUTLINE = ".outline-"

Progress = Callable[[int, int], None]


def fetch_drop(
    location: RemoteLocation,
    name: str,
    fingerprint: str,
    spool: Path,
    *,
    files: Sequence[str] = (),
    vocabularies: Sequence[str] | None = None,
    previous: Path | None = None,
    progress: Progress,
    bytes_max: int = FETCH_BYTES_MAX,
) -> Drop:
    """The drop `name` on this machine, opened; it is the one that has `fingerprint`.

    `previous` is the spool of an earlier attempt, which is emptied. `progress` gets bytes here and bytes in all.
    Raises DropError (drop.changed_while_read when it is another drop now), SourceError.
    """
    store = open_store(location)
    source = spool / fingerprint / location.name
    (spool / PARTS).mkdir(parents=True, exist_ok=True)
    if previous is not None:
        _take_over(previous, spool, fingerprint)
    with _outlined(store, location, name, fingerprint, spool, files, vocabularies) as found:
        _Work(location, found, source / found.path, spool / PARTS, progress).run(bytes_max)
        _copy_markers(found.source / found.path, source / found.path)
    with _outlined(store, location, name, fingerprint, spool, files, vocabularies):
        # Nothing was written to while it was read: its fingerprint is still the same.
        return open_drop(source, name, files=files, vocabularies=vocabularies, allow_unmarked=True)


@contextmanager
def _outlined(
    store: Store,
    location: RemoteLocation,
    name: str,
    fingerprint: str,
    spool: Path,
    files: Sequence[str],
    vocabularies: Sequence[str] | None,
) -> Iterator[Outline]:
    with tempfile.TemporaryDirectory(prefix=OUTLINE, dir=spool) as folder:
        # Whether it may be taken without a marker was decided when it was found.
        found = remote.outline(
            store, location, name, Path(folder), files=files, vocabularies=vocabularies, allow_unmarked=True
        )
        if found.drop.fingerprint != fingerprint:
            message = f"Drop `{name}` changed since the build began; write a drop completely before its marker."
            raise DropError("drop.changed_while_read", message, {"drop": name})
        yield found


def _take_over(previous: Path, spool: Path, fingerprint: str) -> None:
    """Moves what an earlier attempt brought here; a worker that lost its claim may still look on, and fails alone."""
    brought, here = previous / fingerprint, spool / fingerprint
    if previous != spool and brought.is_dir() and not here.exists():
        brought.rename(here)
    if previous != spool:
        shutil.rmtree(previous, ignore_errors=True)


def _copy_markers(outline: Path, target: Path) -> None:
    for marker in (MANIFEST_NAME, SUCCESS_MARKER):
        if (outline / marker).is_file():
            shutil.copyfile(outline / marker, target / marker)


@dataclass
class _Work:
    """The files of one drop on their way."""

    location: RemoteLocation
    outline: Outline
    target: Path
    parts: Path
    progress: Progress
    done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _own: threading.local = field(default_factory=threading.local)

    def run(self, bytes_max: int) -> None:
        """Raises the first error of a file; the others are then given up."""
        self.target.mkdir(parents=True, exist_ok=True)
        missing = [name for name in self.outline.files if not self._is_here(name)]
        self._check_room(missing, bytes_max)
        self.done = self.outline.bytes_to_fetch - sum(self.outline.entries[name].bytes for name in missing)
        with ThreadPoolExecutor(FETCHES_AT_ONCE_MAX, thread_name_prefix="fetch") as pool:
            futures = [pool.submit(self._fetch, number, name) for number, name in enumerate(missing)]
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            self._stop.set()
            pool.shutdown(cancel_futures=True)
        for future in finished:
            future.result()

    def _is_here(self, name: str) -> bool:
        path = self.target / name
        return path.is_file() and path.stat().st_size == self.outline.entries[name].bytes

    def _check_room(self, missing: Sequence[str], bytes_max: int) -> None:
        total = self.outline.bytes_to_fetch
        if total > bytes_max:
            message = f"The drop's files have {total} bytes; the limit is {bytes_max}."
            raise DropError("drop.too_large", message, {"bytes": total, "limit": bytes_max})
        needed = sum(self.outline.entries[name].bytes for name in missing) + FREE_BYTES_MIN
        free = shutil.disk_usage(self.parts).free
        if needed > free:
            raise SourceError(
                "source.no_room",
                f"The drop needs {needed} bytes on the disk of the builds, where {free} are free.",
                remedy="An administrator makes room below RECALL_WORK.",
            )

    def _fetch(self, number: int, name: str) -> None:
        entry, where = self.outline.entries[name], self.outline.place_of(name)
        part, path = self.parts / str(number), self.target / name
        store = self._store()
        with store.open(where, entry, BLOCK_BYTES) as remote_file, part.open("wb") as file:
            for start in range(0, entry.bytes, BLOCK_BYTES):
                if self._stop.is_set():
                    return
                block = store.read(remote_file, where, start, min(BLOCK_BYTES, entry.bytes - start))
                file.write(block)
                self._tell(len(block))
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)

    def _store(self) -> Store:
        """Each thread's own."""
        if not hasattr(self._own, "store"):
            self._own.store = open_store(self.location)
        store: Store = self._own.store
        return store

    def _tell(self, count: int) -> None:
        with self._lock:
            self.done += count
            self.progress(self.done, self.outline.bytes_to_fetch)
