"""The manifest of an artifact and the checksums in it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bundles import layout
from bundles.errors import ArtifactError

FORMAT = 1
MANIFEST_BYTES_MAX = 4 << 20
HASHED_BYTES_AT_A_TIME = 4 << 20
REQUIRED_KEYS = ("files", "items", "searchable_items", "dimension", "metric")


def read_manifest(path: Path, expected_sha256: str) -> dict[str, Any]:
    """The manifest of the artifact at `path`, parsed only when its bytes are the expected ones."""
    if path.is_symlink() or not path.is_dir():
        raise ArtifactError("artifact.not_found", f"There is no artifact folder at {path}.")
    with _open(path, layout.MANIFEST) as file:
        payload = file.read(MANIFEST_BYTES_MAX + 1)
    found = hashlib.sha256(payload).hexdigest()
    if found != expected_sha256:
        raise _mismatch(layout.MANIFEST, expected_sha256, found)
    return _parse(payload)


def verify_files(path: Path, listed: Mapping[str, Any], *, unread: str | None = None) -> None:
    """Raises ArtifactError unless the folder holds exactly the listed files, each with its size and checksum.

    Of the folder `unread`, which the caller is not going to read, sizes alone are looked at.
    """
    present = set(walk_files(path)) - {layout.MANIFEST}
    for name in sorted(present - set(listed)):
        raise ArtifactError("artifact.unlisted_file", f"{name} is not in the manifest.", {"file": name})
    for name in sorted(set(listed) - present):
        raise ArtifactError("artifact.missing_file", f"{name} is in the manifest but not there.", {"file": name})
    # All sizes before any checksum: a file that was cut short is found at once.
    for name, entry in listed.items():
        size = os.lstat(path / name).st_size
        if size != entry["bytes"]:
            details = {"file": name, "expected": entry["bytes"], "found": size}
            message = f"{name} has {size} bytes; the manifest says {entry['bytes']}."
            raise ArtifactError("artifact.size_mismatch", message, details)
    for name, entry in listed.items():
        if unread is not None and name.startswith(f"{unread}/"):
            continue
        with _open(path, name) as file:
            found, _ = sha256_of(file)
        if found != entry["sha256"]:
            raise _mismatch(name, entry["sha256"], found)


def check_keys(manifest: Mapping[str, Any]) -> None:
    """Raises ArtifactError artifact.bad_manifest when the manifest lacks what every reader needs."""
    missing = [key for key in REQUIRED_KEYS if key not in manifest]
    if missing or not isinstance(manifest["files"], dict):
        raise ArtifactError("artifact.bad_manifest", f"The manifest lacks {', '.join(missing) or 'a list of files'}.")


def sha256_of(file: BinaryIO) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of what is left in `file`."""
    digest = hashlib.sha256()
    size = 0
    while chunk := file.read(HASHED_BYTES_AT_A_TIME):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def walk_files(folder: Path, prefix: str = "") -> Iterator[str]:
    """Relative names of all files, sorted in each folder. Raises ArtifactError artifact.unsafe_path for a link."""
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk_files(folder / entry.name, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield prefix + entry.name
        else:
            raise _unsafe(prefix + entry.name)


def _open(path: Path, name: str) -> BinaryIO:
    try:
        handle = os.open(path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(name) from error
        message = f"{name} cannot be opened: {error.strerror}."
        raise ArtifactError("artifact.missing_file", message, {"file": name}) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _unsafe(name)
    return os.fdopen(handle, "rb")


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ArtifactError("artifact.bad_manifest", f"The manifest is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        message = f"The artifact has format {found!r}; this program reads format {FORMAT}."
        raise ArtifactError("artifact.unknown_format", message, {"found": found, "expected": FORMAT})
    check_keys(manifest)
    for name, entry in manifest["files"].items():
        _check_entry(name, entry)
    return manifest


def _check_entry(name: str, entry: Any) -> None:
    plain = not any(part in ("", ".", "..") for part in name.split("/"))
    fits = isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("bytes"), int)
    if not plain or not fits:
        raise ArtifactError("artifact.bad_manifest", f"The manifest's entry for {name!r} is damaged.")


def _mismatch(name: str, expected: str, found: str) -> ArtifactError:
    message = f"{name} is damaged: its checksum is not the one that was published."
    return ArtifactError("artifact.checksum_mismatch", message, {"file": name, "expected": expected, "found": found})


def _unsafe(name: str) -> ArtifactError:
    return ArtifactError("artifact.unsafe_path", f"{name} is a link or not a regular file.", {"file": name})
