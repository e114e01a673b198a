"""Making files survive a power cut: their bytes first, then the folders that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bundles.checksums import walk_files
from bundles.errors import ArtifactError


def sync_work(folder: Path) -> None:
    """Makes all that a step of a build has left in `folder` durable, before anybody notes that the step is done.

    Else a row could outlive the bytes it speaks of, and who goes on would take zeros for them and give them a checksum.
    Raises ArtifactError: artifact.not_durable when the disk refuses, artifact.unsafe_path for a link.
    """
    try:
        for name in walk_files(folder):
            _sync(folder / name, os.O_RDONLY)
        sync_folders(folder)
    except OSError as error:
        raise ArtifactError("artifact.not_durable", f"{folder.name} could not be written to disk: {error}") from error


def sync_folders(folder: Path) -> None:
    """The names in `folder` and all below it. Raises OSError."""
    for each in _folders(folder):
        sync_folder(each)


def sync_folder(folder: Path) -> None:
    """The names in `folder`. Raises OSError."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _folders(work_dir: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(work_dir, topdown=False):
        yield Path(folder)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
