"""Drops in remote places: which there are, what one consists of, and its files brought to this machine.

A remote drop is first drawn as an *outline*: a local folder with its manifest, its marker and an empty file for each
name in its listing. Which files make a drop is then decided by `bundles.drop` alone, as for a local one. The
fingerprint is made of names, sizes and tags (etags, times of writing) of those files, and of the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from bundles.drop import (
    DEFAULT_FILES,
    Drop,
    DropRef,
    choose_newest,
    first_complete,
    is_drop_name,
    marker_among,
    open_drop,
)
from bundles.errors import DropError
from bundles.manifest import MANIFEST_BYTES_MAX, MANIFEST_NAME, DropManifest, parse_manifest
from bundles.places import RemoteLocation
from bundles.stores import Entry, Store

# So many newer drops without a marker are looked into, before the source is taken for broken.
INCOMPLETE_DROPS_MAX = 50
OUTLINE_ENTRIES_MAX = 100_000


@dataclass(frozen=True)
class Outline:
    """A remote drop without its contents.

    `drop` is opened on the outline's empty files and has the remote fingerprint; `source` is the folder on this machine
    that stands for the source, `path` where the drop lies in the place, `entries` the listed files by their names.
    """

    drop: Drop
    source: Path
    path: str
    entries: dict[str, Entry]

    @property
    def files(self) -> list[str]:
        """The names of the files that the drop consists of, without its manifest."""
        return _used(self.drop)

    def place_of(self, name: str) -> str:
        """Where a file of the drop lies in the place."""
        return f"{self.path}/{name}" if self.path else name

    @property
    def bytes(self) -> int:
        """Of the item files, as `Drop.bytes`."""
        return sum(self.entries[file.name].bytes for item in self.drop.item_files for file in item.files())

    @property
    def bytes_to_fetch(self) -> int:
        return sum(self.entries[name].bytes for name in self.files)


def newest_complete(store: Store, location: RemoteLocation) -> DropRef:
    """The newest drop with a marker, and which it passed over. Raises DropError, SourceError."""
    return choose_newest(_newest_first(store, location))


def newest(store: Store, location: RemoteLocation) -> tuple[DropRef | None, list[DropRef]]:
    """The newest drop with a marker, else the newest one, None when there is no drop at all; and what was listed."""
    drops = list(_newest_first(store, location))
    return first_complete(drops) or (drops[0] if drops else None), drops


def outline(
    store: Store,
    location: RemoteLocation,
    name: str,
    folder: Path,
    *,
    files: Sequence[str] = (),
    vocabularies: Sequence[str] | None = None,
    allow_unmarked: bool = False,
) -> Outline:
    """Draws the drop `name` inside `folder`, which is empty. Raises DropError as `open_drop` does, SourceError."""
    path = _path_of(store.entries(""), location, name)
    entries = store.entries(path)
    payload = _manifest_payload(store, path, entries)
    manifest = parse_manifest(payload) if payload is not None else None
    listed = _walk(store, path, entries, _patterns(manifest, files, vocabularies))
    source = folder / location.name
    target = source / path
    target.mkdir(parents=True)
    for file_name in listed:
        _touch(target, file_name)
    if payload is not None:
        (target / MANIFEST_NAME).write_bytes(payload)
    drop = open_drop(source, name, files=files, vocabularies=vocabularies, allow_unmarked=allow_unmarked)
    fingerprint = _fingerprint(_used(drop), listed, payload)
    return Outline(replace(drop, fingerprint=fingerprint), source, path, listed)


def _newest_first(store: Store, location: RemoteLocation) -> Iterator[DropRef]:
    """Until the first with a marker; a place that holds a marker itself is one drop."""
    entries = store.entries("")
    marker = _marker(entries)
    if marker:
        yield DropRef(location.name, Path(location.name), marker)
        return
    names = sorted((entry.name for entry in entries if entry.is_folder and is_drop_name(entry.name)), reverse=True)
    for name in names[:INCOMPLETE_DROPS_MAX]:
        ref = DropRef(name, Path(name), _marker(store.entries(name)))
        yield ref
        if ref.complete:
            return


def _marker(entries: Sequence[Entry]) -> str:
    return marker_among({entry.name for entry in entries if not entry.is_folder})


def _path_of(entries: Sequence[Entry], location: RemoteLocation, name: str) -> str:
    """Where the drop `name` lies: in the place itself (empty), or in the folder of its name."""
    is_one_drop = bool(_marker(entries))
    folders = {entry.name for entry in entries if entry.is_folder and is_drop_name(entry.name)}
    if name in folders and not is_one_drop:
        return name
    # As on disk, a place of plain files is read as it lies when it is asked for by hand.
    if name == location.name and entries and (is_one_drop or not folders):
        return ""
    raise DropError("drop.not_found", f"The source holds no drop `{name}`.", {"drop": name})


def _manifest_payload(store: Store, path: str, entries: Sequence[Entry]) -> bytes | None:
    entry = next((entry for entry in entries if entry.name == MANIFEST_NAME and not entry.is_folder), None)
    if entry is None:
        return None
    count = min(entry.bytes, MANIFEST_BYTES_MAX + 1)
    where = f"{path}/{MANIFEST_NAME}" if path else MANIFEST_NAME
    with store.open(where, entry, MANIFEST_BYTES_MAX) as file:
        return store.read(file, where, 0, count)


def _patterns(
    manifest: DropManifest | None, files: Sequence[str], vocabularies: Sequence[str] | None
) -> list[list[str]]:
    """Patterns of files that the drop may consist of, in parts."""
    if manifest is None:
        named: list[str] = list(files) or list(DEFAULT_FILES)
    else:
        named = [*manifest.items, *manifest.ids, *filter(None, [manifest.queries, manifest.query_model])]
    named += vocabularies or ()
    return [pattern.split("/") for pattern in named]


def _walk(store: Store, path: str, entries: Sequence[Entry], patterns: Sequence[Sequence[str]]) -> dict[str, Entry]:
    """The files in the drop's own folder (`entries`) and in the folders that a pattern goes into, by their names."""
    listed: dict[str, Entry] = {}
    seen = 0
    waiting = [("", list(entries), patterns)]
    while waiting:
        inside, here, deeper = waiting.pop()
        seen += len(here)
        if seen > OUTLINE_ENTRIES_MAX:
            raise DropError("drop.too_large", f"The drop's folders hold more than {OUTLINE_ENTRIES_MAX} entries.")
        for entry in here:
            name = f"{inside}{entry.name}"
            rest = [parts[1:] for parts in deeper if len(parts) > 1 and _fits(entry.name, parts[0])]
            if not entry.is_folder:
                listed[name] = entry
            elif rest:
                waiting.append((f"{name}/", store.entries(f"{path}/{name}" if path else name), rest))
    return listed


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _touch(folder: Path, name: str) -> None:
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        message = f"{name} lies in a folder that has the name of a file; a drop on this machine could not."
        raise DropError("drop.unsafe_path", message, {"file": name}) from None


def _used(drop: Drop) -> list[str]:
    """The names of the files that a drop consists of, without its manifest."""
    return [file.name for file in drop.files()]


def _fingerprint(used: Sequence[str], listed: Mapping[str, Entry], payload: bytes | None) -> str:
    """SHA-256 (hex) over path, size and tag of each file, and the manifest's bytes."""
    listing = sorted([name, listed[name].bytes, listed[name].tag] for name in used)
    digest = hashlib.sha256(json.dumps(listing).encode())
    digest.update(payload if payload is not None else b"no manifest")
    return digest.hexdigest()
