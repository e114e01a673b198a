"""What a remote place is asked: the entries of a folder, and the bytes of a file as it was listed.

Every question is tried again a bounded number of times when its fault may pass. What a library or a server says of a
fault is never passed on, because it may hold addresses with credentials in them; a reason of ours takes its place.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from bundles.errors import BundleError, DropError, SourceError

log = logging.getLogger(__name__)

CONNECT_SECONDS_MAX = 5.0
READ_SECONDS_MAX = 20.0
ATTEMPTS_MAX = 3
PAUSE_SECONDS_MIN = 0.5
FOLDER_ENTRIES_MAX = 100_000
NAME_BYTES_MAX = 255
BUSY_ERRNOS = (errno.EBUSY, errno.EREMOTEIO, errno.EAGAIN)
AWAY_ERRNOS = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPIPE)

ASK_SETTINGS = "An administrator compares the credential with the file that RECALL_SOURCES_FILE names."
TRY_AGAIN = "Try again; if it stays so, an administrator looks at the network and the server."

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Entry:
    """A file or folder as a listing shows it. `tag` changes when a file is written or replaced; folders have none."""

    name: str
    is_folder: bool
    bytes: int = 0
    tag: str = ""


class Store(ABC):
    """Below one location. Paths are relative to it: parts with one slash between, empty for the location itself.

    One thread uses a store at a time.
    """

    def entries(self, folder: str) -> list[Entry]:
        """Files and folders; neither links nor what could not be a file's name here. Raises SourceError, DropError."""
        return [entry for entry in self._retried(folder, lambda: self._list(folder)) if is_plain_name(entry.name)]

    def open(self, path: str, entry: Entry, block_bytes: int) -> IO[bytes]:
        """The file as it was listed; reads ahead `block_bytes`.

        Raises DropError drop.changed_while_read when it is another one now, SourceError.
        """
        return self._retried(path, lambda: self._open(path, entry, block_bytes))

    def read(self, file: IO[bytes], path: str, start: int, count: int) -> bytes:
        """`count` bytes from `start`, for a file that was opened here. Raises DropError, SourceError."""

        def read() -> bytes:
            file.seek(start)
            payload = file.read(count)
            if len(payload) != count:
                raise SourceError("source.failed", f"The server sent {len(payload)} of {count} bytes of {path}.")
            return payload

        return self._retried(path, read)

    @abstractmethod
    def _list(self, folder: str) -> list[Entry]: ...

    @abstractmethod
    def _open(self, path: str, entry: Entry, block_bytes: int) -> IO[bytes]: ...

    @abstractmethod
    def _told(self, error: Exception, path: str) -> BundleError | None:
        """What an error of this protocol's library means; None for one that means no more than any other's."""

    def _retried(self, path: str, ask: Callable[[], AnswerT]) -> AnswerT:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                with self._translated(path):
                    return ask()
            except SourceError as error:
                if not error.temporary or attempt == ATTEMPTS_MAX:
                    raise
                log.warning("%s (attempt %d of %d)", error.reason, attempt, ATTEMPTS_MAX)
                # Jitter, so that threads that failed together do not come back together.
                time.sleep(PAUSE_SECONDS_MIN * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (BundleError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - libraries raise what they like, and none of it may leave here
            told = self._told(error, path) or _plain(error, path)
            log.warning("%s: %s", told.reason, type(error).__name__)
            raise told from None


def is_plain_name(name: str) -> bool:
    """Whether it can be the name of one file or folder here."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
        return False
    return len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES_MAX


def too_many(folder: str) -> DropError:
    return DropError("drop.too_large", f"`{folder}` holds more than {FOLDER_ENTRIES_MAX} entries.")


def changed(path: str) -> DropError:
    message = f"{path} changed while the drop was read; write a drop completely before its marker."
    return DropError("drop.changed_while_read", message, {"file": path})


def forbidden() -> SourceError:
    message = "The server does not let the platform read there with the credential that it has for this place."
    return SourceError("source.forbidden", message, remedy=ASK_SETTINGS)


def timed_out() -> SourceError:
    return SourceError("source.timeout", "The server did not answer in time.", remedy=TRY_AGAIN)


def unreachable() -> SourceError:
    return SourceError("source.unreachable", "The server cannot be reached.", remedy=TRY_AGAIN)


def busy() -> SourceError:
    return SourceError("source.busy", "The server says that it is busy or has a fault.", remedy=TRY_AGAIN)


def failed() -> SourceError:
    message = "The server answered in a way that the platform cannot use."
    return SourceError("source.failed", message, remedy="An administrator finds the kind of error in the log.")


def not_found(path: str) -> SourceError:
    message = f"`{path}` is not there." if path else "There is no such bucket or folder."
    return SourceError("source.not_found", message, remedy="Write the first drop, or correct source.uri.", owner="user")


def _plain(error: Exception, path: str) -> SourceError:
    """By Python's own kinds of errors, which fsspec makes of most others."""
    number: Any = error.errno if isinstance(error, OSError) else None
    if isinstance(error, PermissionError):
        return forbidden()
    if isinstance(error, FileNotFoundError):
        return not_found(path)
    if isinstance(error, TimeoutError):
        return timed_out()
    if isinstance(error, ConnectionError) or number in AWAY_ERRNOS:
        return unreachable()
    if number in BUSY_ERRNOS:
        return busy()
    return failed()
