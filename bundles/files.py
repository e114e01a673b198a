"""Files of a drop: opened without following any link, and checked not to change while they are read."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bundles.errors import DropError

# What a link gives under O_NOFOLLOW: ELOOP as a file, ENOTDIR where a folder is asked for.
_LINK_ERRNOS = (errno.ELOOP, errno.ENOTDIR)


def open_without_links(path: Path) -> BinaryIO:
    """Opens a regular file for reading, refusing a link at any level of its absolute path.

    Each folder is opened through the one above it, so that nobody can put a link in between meanwhile.
    Raises OSError: ELOOP or ENOTDIR for a link, EINVAL for what is no regular file.
    """
    folder_flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open("/", folder_flags)
    try:
        for part in path.parts[1:-1]:
            above, folder = folder, os.open(part, folder_flags, dir_fd=folder)
            os.close(above)
        # O_NONBLOCK: a named pipe must not block the opening; it is refused below.
        handle = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


@dataclass(frozen=True)
class FileStamp:
    """What changes when a file is written or replaced."""

    bytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class DropFile:
    """A file of a drop as it was when the drop was opened; `name` is its path inside the drop."""

    path: Path
    name: str
    stamp: FileStamp

    @classmethod
    def at(cls, folder: Path, name: str) -> DropFile:
        """Raises DropError when the file is not there, or is a link or no regular file."""
        path = folder / name
        try:
            status = os.lstat(path)
        except OSError as error:
            raise DropError("drop.not_found", f"{name} is not in the drop.", {"file": name}) from error
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe(name)
        return cls(path, name, FileStamp.of(status))

    @property
    def bytes(self) -> int:
        return self.stamp.bytes

    def open(self) -> BinaryIO:
        """Raises DropError: drop.unsafe_path for a link, drop.changed_while_read when it is another file now."""
        try:
            file = open_without_links(self.path)
        except FileNotFoundError as error:
            raise _gone(self.name) from error
        except OSError as error:
            if error.errno in (*_LINK_ERRNOS, errno.EINVAL):
                raise _unsafe(self.name) from error
            raise DropError(
                "drop.unreadable", f"{self.name} cannot be opened: {error.strerror}.", {"file": self.name}
            ) from error
        if FileStamp.of(os.fstat(file.fileno())) != self.stamp:
            file.close()
            raise _changed(self.name)
        return file

    def check_unchanged(self) -> None:
        """Raises DropError drop.changed_while_read when the file is not as it was when the drop was opened."""
        try:
            status = os.lstat(self.path)
        except OSError as error:
            raise _gone(self.name) from error
        if FileStamp.of(status) != self.stamp:
            raise _changed(self.name)


def _unsafe(name: str) -> DropError:
    message = f"{name} is a link or not a regular file; a drop holds its own files only."
    return DropError("drop.unsafe_path", message, {"file": name})


def _gone(name: str) -> DropError:
    message = f"{name} disappeared while the drop was read; keep a drop for as long as its build runs."
    return DropError("drop.changed_while_read", message, {"file": name})


def _changed(name: str) -> DropError:
    message = f"{name} changed while the drop was read; write a drop completely before its marker."
    return DropError("drop.changed_while_read", message, {"file": name})


@dataclass(frozen=True)
class ItemFile:
    """A file with items, and for formats that keep the ids apart (npy) the file with its ids."""

    data: DropFile
    ids: DropFile | None = None

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def bytes(self) -> int:
        return self.data.bytes + (self.ids.bytes if self.ids else 0)

    def files(self) -> tuple[DropFile, ...]:
        return (self.data, self.ids) if self.ids else (self.data,)

    def check_unchanged(self) -> None:
        """Raises DropError drop.changed_while_read."""
        for file in self.files():
            file.check_unchanged()
