"""Drops: the deliveries in a source folder, which of them are complete, and what is in one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from bundles import companions, formats
from bundles.companions import incomplete
from bundles.errors import DropError
from bundles.files import DropFile, ItemFile
from bundles.inspection import NOTHING_DECIDED, Inspection, Wanted, inspect_files
from bundles.manifest import MANIFEST_BYTES_MAX, MANIFEST_NAME, DropManifest, check_pattern, parse_manifest

SUCCESS_MARKER = "_SUCCESS"
DEFAULT_FILES = tuple(f"{stem}{extension}" for extension in formats.FORMATS for stem in ("items-*", "part-*", "items"))
FOLDER_ENTRIES_MAX = 100_000
ITEM_FILES_MAX = 20_000
INSPECT_ROWS_MAX = 1_000
DROPS_SHOWN_MAX = 10
SKIPPED_SHOWN_MAX = 3
NO_MARKER = f"no {MANIFEST_NAME} or {SUCCESS_MARKER}; builds take it only when they are asked for it by name"
IDS_RULE = (
    "The ids of items.npy are read from ids.npy, those of items-3.npy from ids-3.npy. For files of other names say "
    f'which is which in {MANIFEST_NAME}: {{"items": ["vectors.npy"], "ids": ["ids.npy"]}}.'
)


@dataclass(frozen=True)
class DropRef:
    """A drop as the listing of its source shows it; `marker` is empty while it is not complete.

    `skipped` says, of the drop that was chosen as the newest, which newer ones were passed over and why.
    """

    name: str
    path: Path
    marker: str
    skipped: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return bool(self.marker)


@dataclass(frozen=True)
class Drop:
    """An opened drop. `count` is what the manifest promises, None when it promises nothing.

    `query_model` and `vocabularies` are there when it was opened for a schema with a query model.
    """

    name: str
    path: Path
    manifest: DropManifest | None
    item_files: tuple[ItemFile, ...]
    queries: DropFile | None
    fingerprint: str
    query_model: DropFile | None = None
    vocabularies: tuple[DropFile, ...] = ()

    @property
    def count(self) -> int | None:
        return self.manifest.count if self.manifest else None

    @property
    def model_version(self) -> str:
        return self.manifest.model_version if self.manifest else ""

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.item_files)

    def files(self) -> list[DropFile]:
        """Every file that it consists of, without its manifest."""
        items = [file for item in self.item_files for file in item.files()]
        others = [file for file in (self.queries, self.query_model) if file is not None]
        return [*items, *others, *self.vocabularies]

    def check_unchanged(self) -> None:
        """Raises DropError drop.changed_while_read when a file or the manifest is not what it was."""
        files = self.files()
        for file in files:
            file.check_unchanged()
        payload = _manifest_payload(self.path)
        if _fingerprint(files, payload) != self.fingerprint:
            message = f"{MANIFEST_NAME} changed while the drop was read."
            raise DropError("drop.changed_while_read", message, {"file": MANIFEST_NAME})


def list_drops(source: Path) -> list[DropRef]:
    """The drops of a source, newest (greatest name) first; complete or not.

    A source that holds a marker itself is one drop with the name of its folder. Links and folders whose name
    begins with `.` or `_` are no drops. Raises DropError drop.not_found when there is no such folder.
    """
    return list(_drops(source))


def newest_complete(source: Path) -> DropRef:
    """The newest drop that carries a marker. Raises DropError drop.not_found or drop.incomplete."""
    # Older ones than the first that is complete are not looked into.
    return choose_newest(_drops(source))


def choose_newest(drops: Iterable[DropRef]) -> DropRef:
    """Of drops in the order of `list_drops` the first that is complete. Raises as `newest_complete` does."""
    passed_over: list[DropRef] = []
    for drop in drops:
        if drop.complete:
            return replace(drop, skipped=tuple(_skipped(passed_over)))
        passed_over.append(drop)
    if not passed_over:
        raise DropError("drop.not_found", "The source holds no drop: no sub-folder, and no marker of its own.")
    message = (
        f"No drop is complete: `{passed_over[0].name}`, the newest, has neither {MANIFEST_NAME} nor {SUCCESS_MARKER}."
    )
    raise DropError("drop.incomplete", message, {"newest": passed_over[0].name})


def open_drop(
    source: Path,
    name: str,
    *,
    files: Sequence[str] = (),
    vocabularies: Sequence[str] | None = None,
    allow_unmarked: bool = False,
) -> Drop:
    """Opens one drop of a source by name and fixes which files it consists of.

    `files` are the patterns of the source, used when no manifest says which files hold the items. `vocabularies` are
    the files that the schema's query model names; None: the schema has none, and a model in the drop is left alone.
    Raises DropError: drop.not_found, drop.incomplete (no marker, unless `allow_unmarked`; or a file that the manifest
    names is not there), drop.bad_manifest, drop.empty (no file matches), drop.unsafe_path, drop.missing_model,
    drop.missing_vocabulary.
    """
    ref = _find(source, name, allow_unmarked)
    payload = _manifest_payload(ref.path)
    manifest = parse_manifest(payload) if payload is not None else None
    if manifest:
        item_files = _item_files(ref.path, _named(ref.path, manifest, "items"), _named(ref.path, manifest, "ids"))
    else:
        item_files = _item_files(ref.path, _any_of(ref.path, tuple(files) or DEFAULT_FILES), [])
    drop = Drop(ref.name, ref.path, manifest, item_files, companions.queries(ref.path, manifest), "")
    if vocabularies is not None:
        query_model = companions.query_model(ref.path, manifest)
        drop = replace(drop, query_model=query_model, vocabularies=companions.vocabularies(ref.path, vocabularies))
    return replace(drop, fingerprint=_fingerprint(drop.files(), payload))


def count_rows(drop: Drop) -> int | None:
    """How many rows the item files hold, from their headers; None when a format has to be read to know."""
    counts = [formats.format_of(item.name).count_rows(item) for item in drop.item_files]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def inspect(source: Path, sample_rows: int = 20, wanted: Wanted = NOTHING_DECIDED) -> Inspection:
    """What the newest drop of a source holds (complete or not, or the folder itself) and the schema it suggests.

    Raises DropError, as `open_drop` does, and drop.unreadable.
    """
    drops = list_drops(source)
    newest = first_complete(drops) or (drops[0] if drops else None)
    drop = open_drop(source, newest.name if newest else source.name, files=wanted.files, allow_unmarked=True)
    count = drop.count if drop.count is not None else count_rows(drop)
    return inspect_opened(drop, newest, sample_rows, drops=drops, count=count, wanted=wanted)


def inspect_opened(
    drop: Drop,
    newest: DropRef | None,
    sample_rows: int,
    *,
    drops: Sequence[DropRef],
    count: int | None,
    wanted: Wanted = NOTHING_DECIDED,
) -> Inspection:
    """What an opened drop holds; `newest` is how its source lists it among `drops`, `count` its rows if known."""
    return inspect_files(
        drops=tuple(each.name for each in drops[:DROPS_SHOWN_MAX]),
        drop=drop.name,
        missing="" if newest and newest.complete else NO_MARKER,
        skipped=newest.skipped if newest else (),
        item_files=drop.item_files,
        source_files=_source_files(drop, wanted.files),
        count=count,
        sample_rows=min(sample_rows, INSPECT_ROWS_MAX),
        wanted=wanted,
    )


def _drops(source: Path) -> Iterator[DropRef]:
    entries = _entries(source)
    marker = _marker(entries)
    if marker:
        yield DropRef(source.name, source, marker)
        return
    for name in sorted((entry.name for entry in entries if _may_be_drop(entry)), reverse=True):
        yield DropRef(name, source / name, _marker(_entries(source / name)))


def _source_files(drop: Drop, files: Sequence[str]) -> list[str]:
    """Patterns for a source whose drops are like this one: what the manifest says, else those that match."""
    patterns = drop.manifest.items if drop.manifest else tuple(files) or DEFAULT_FILES
    return [pattern for pattern in patterns if drop.manifest or _matches(drop.path, pattern)]


def first_complete(drops: Sequence[DropRef]) -> DropRef | None:
    """Of drops in the order of `list_drops` the first that is complete, and which it passed over."""
    for position, drop in enumerate(drops):
        if drop.complete:
            return replace(drop, skipped=tuple(_skipped(drops[:position])))
    return None


def _skipped(newer: Sequence[DropRef]) -> Iterator[str]:
    for drop in newer[:SKIPPED_SHOWN_MAX]:
        yield f"{drop.name} is newer but has no {MANIFEST_NAME} or {SUCCESS_MARKER}"
    if len(newer) > SKIPPED_SHOWN_MAX:
        yield f"{len(newer) - SKIPPED_SHOWN_MAX} more are newer but have no marker"


def _find(source: Path, name: str, allow_unmarked: bool) -> DropRef:
    ref = next((drop for drop in _drops(source) if drop.name == name), None)
    if ref is None and allow_unmarked and name == source.name and not list_drops(source):
        # By hand, a folder of plain files is read as it lies.
        ref = DropRef(source.name, source, "")
    if ref is None:
        raise DropError("drop.not_found", f"The source holds no drop `{name}`.", {"drop": name})
    if not ref.complete and not allow_unmarked:
        message = f"Drop `{name}` has neither {MANIFEST_NAME} nor {SUCCESS_MARKER} yet."
        raise DropError("drop.incomplete", message, {"drop": name})
    return ref


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    entries: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                entries.append(entry)
                if len(entries) > FOLDER_ENTRIES_MAX:
                    message = f"`{folder.name}` holds more than {FOLDER_ENTRIES_MAX} entries."
                    raise DropError("drop.too_large", message)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DropError("drop.not_found", f"There is no folder `{folder.name}`.") from error
    except OSError as error:
        raise DropError("drop.unreadable", f"`{folder.name}` cannot be listed: {error.strerror}.") from error
    return entries


def _may_be_drop(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and is_drop_name(entry.name)


def is_drop_name(name: str) -> bool:
    """Whether a folder of that name may be a drop: tools hide what they work on behind these two."""
    return not name.startswith((".", "_"))


def _marker(entries: Sequence[os.DirEntry[str]]) -> str:
    return marker_among({entry.name for entry in entries if entry.is_file(follow_symlinks=False)})


def marker_among(names: Collection[str]) -> str:
    """Which of a folder's files makes it a complete drop; empty when none does."""
    return next((marker for marker in (MANIFEST_NAME, SUCCESS_MARKER) if marker in names), "")


def _manifest_payload(folder: Path) -> bytes | None:
    try:
        os.lstat(folder / MANIFEST_NAME)
    except FileNotFoundError:
        return None
    with DropFile.at(folder, MANIFEST_NAME).open() as file:
        return file.read(MANIFEST_BYTES_MAX + 1)


def _named(folder: Path, manifest: DropManifest, key: Literal["items", "ids"]) -> list[str]:
    """The files that the manifest names; each of its names and patterns must be met, else a part is missing."""
    found = {pattern: _matches(folder, pattern) for pattern in getattr(manifest, key)}
    missing = [pattern for pattern, names in found.items() if not names]
    if missing:
        raise incomplete(key, missing)
    return sorted(set().union(*found.values()))


def _any_of(folder: Path, patterns: Sequence[str]) -> list[str]:
    """The files that match one of several patterns, which stand for one another."""
    names = sorted({name for pattern in patterns for name in _matches(folder, pattern)})
    if not names:
        listed = ", ".join(patterns)
        raise DropError("drop.empty", f"The drop holds no items: no file matches {listed}.", {"files": list(patterns)})
    return names


def _item_files(folder: Path, names: Sequence[str], id_names: Sequence[str]) -> tuple[ItemFile, ...]:
    if len(names) > ITEM_FILES_MAX:
        raise DropError("drop.too_large", f"The drop has {len(names)} item files; the limit is {ITEM_FILES_MAX}.")
    ids_apart = iter(_ids_apart(folder, names, id_names))
    return tuple(
        ItemFile(
            DropFile.at(folder, name),
            DropFile.at(folder, next(ids_apart)) if formats.format_of(name).IDS_APART else None,
        )
        for name in names
    )


def _ids_apart(folder: Path, names: Sequence[str], id_names: Sequence[str]) -> Sequence[str]:
    """The files with the ids, in the order of the files that need one."""
    needing = [name for name in names if formats.format_of(name).IDS_APART]
    if not needing:
        return []
    if not id_names:
        return _ids_beside(folder, needing)
    if len(id_names) != len(needing):
        message = f"`ids` matches {len(id_names)} files for {len(needing)} files with items."
        raise DropError("drop.bad_manifest", message, {"key": "ids", "ids": list(id_names), "items": needing})
    return id_names


def _ids_beside(folder: Path, names: Sequence[str]) -> list[str]:
    """Raises DropError when a file with items has none, maybe because files with ids were listed as items."""
    found = [_beside(name) for name in names]
    lonely = [pair for pair in zip(names, found, strict=True) if not os.path.lexists(folder / pair[1])]
    if not lonely:
        return found
    for name in names:
        if name.rpartition("/")[2].startswith("ids"):
            message = f"{name} is among the files with items. {IDS_RULE}"
            raise DropError("drop.bad_manifest", message, {"file": name, "key": "items"})
    name, ids_name = lonely[0]
    message = f"{name} has no file with its ids: {ids_name} is not in the drop. {IDS_RULE}"
    raise DropError("drop.not_found", message, {"file": name, "ids": ids_name})


def _beside(name: str) -> str:
    folder, _, file_name = name.rpartition("/")
    ids_name = file_name.replace("items", "ids", 1) if file_name.startswith("items") else f"ids-{file_name}"
    return f"{folder}/{ids_name}" if folder else ids_name


def _matches(folder: Path, pattern: str) -> list[str]:
    """Names of the files inside `folder` that match a pattern, or are called so."""
    objection = check_pattern(pattern)
    if objection:
        raise DropError("drop.bad_manifest", f"The pattern {pattern!r} {objection}.", {"key": "files"})
    return list(_glob(folder, pattern.split("/")))


def _glob(folder: Path, parts: Sequence[str]) -> Iterator[str]:
    for entry in _entries(folder):
        # A name may hold what means something in a pattern: `part[1].parquet`.
        if entry.name != parts[0] and (_is_hidden(entry.name, parts[0]) or not fnmatchcase(entry.name, parts[0])):
            continue
        if len(parts) > 1 and entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in _glob(folder / entry.name, parts[1:]))
        elif len(parts) == 1 and not entry.is_dir(follow_symlinks=False):
            yield entry.name


def _is_hidden(name: str, pattern: str) -> bool:
    """Spark's and Hadoop's own files and folders (`_temporary`, `.part-0.crc`) match only a pattern that says so."""
    return name.startswith((".", "_")) and not pattern.startswith(name[0])


def _fingerprint(files: Sequence[DropFile], manifest_payload: bytes | None) -> str:
    """SHA-256 (hex) over path, size and modification time of each file, and the manifest's bytes."""
    listing = sorted([file.name, file.stamp.bytes, file.stamp.mtime_ns] for file in files)
    digest = hashlib.sha256(json.dumps(listing).encode())
    digest.update(manifest_payload if manifest_payload is not None else b"no manifest")
    return digest.hexdigest()
