"""A source, wherever it lies: its newest complete drop, and what a drop holds. One way for local and remote ones.

Remote ones are asked in a child process, which can be ended when a server keeps it waiting, has a memory cap, and takes
its libraries, its threads and the credential with it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from bundles import drop as drops
from bundles import places
from bundles.errors import BundleError, DropError, SourceError, UriError
from bundles.inspection import NOTHING_DECIDED, Inspection, Wanted
from bundles.places import Source

log = logging.getLogger(__name__)

FIND_SECONDS_MAX = 120.0
LOOK_SECONDS = 0.2
STDERR_TAIL_BYTES = 2_000


@dataclass(frozen=True)
class FoundDrop:
    """A drop of a source. `marker` is empty when it was asked for by name; `skipped`: newer ones, passed over."""

    name: str
    marker: str
    fingerprint: str
    count: int | None
    model_version: str
    files: int
    bytes: int
    skipped: tuple[str, ...] = ()


def no_check() -> None:
    """Nobody waits to be told to stop."""


def find(
    source: Source,
    *,
    name: str = "",
    files: Sequence[str] = (),
    vocabularies: Sequence[str] | None = None,
    seconds_max: float = FIND_SECONDS_MAX,
    check: Callable[[], None] = no_check,
) -> FoundDrop:
    """The newest complete drop of a source, or the drop `name`, complete or not.

    `files` and `vocabularies` are those of `bundles.drop.open_drop`. For a remote source it takes at most
    `seconds_max`, and `check` is called several times a second; when it raises, the search ends at once. A DropError
    about the newest complete drop has its name as `details["drop"]`. Raises UriError, DropError, SourceError
    (source.timeout when it took too long).
    """
    if not source.is_remote:
        return find_here(source, name, files, vocabularies)
    # What is not allowed is said without starting a process.
    places.locate(source)
    order = {
        "source": source.to_dict(),
        "name": name,
        "files": list(files),
        "vocabularies": None if vocabularies is None else list(vocabularies),
    }
    return _found(_answer(order, seconds_max, check))


def find_here(source: Source, name: str, files: Sequence[str], vocabularies: Sequence[str] | None = None) -> FoundDrop:
    """`find` in this very process, however long a server takes."""
    location = places.locate(source)
    if isinstance(location, Path):
        with _looked_for(source, location):
            return _find_local(location, name, files, vocabularies)
    from bundles import remote
    from bundles.stores import open_store

    store = open_store(location)
    ref = None if name else remote.newest_complete(store, location)
    with _told_of(ref), tempfile.TemporaryDirectory(prefix="recall-outline-") as folder:
        found = remote.outline(
            store,
            location,
            ref.name if ref else name,
            Path(folder),
            files=files,
            vocabularies=vocabularies,
            allow_unmarked=bool(name),
        )
        return replace(_told(found.drop, ref), bytes=found.bytes)


def inspect(source: Source, sample_rows: int, wanted: Wanted = NOTHING_DECIDED) -> Inspection:
    """What the newest drop of a source holds, in this very process; of a remote one only the needed parts are read.

    Raises UriError, DropError, SourceError.
    """
    location = places.locate(source)
    if isinstance(location, Path):
        with _looked_for(source, location):
            return drops.inspect(location, sample_rows, wanted)
    from bundles import peeking

    return peeking.inspect(location, sample_rows, wanted)


def _find_local(folder: Path, name: str, files: Sequence[str], vocabularies: Sequence[str] | None) -> FoundDrop:
    ref = None if name else drops.newest_complete(folder)
    with _told_of(ref):
        drop = drops.open_drop(
            folder, ref.name if ref else name, files=files, vocabularies=vocabularies, allow_unmarked=bool(name)
        )
        return _told(drop, ref)


@contextmanager
def _looked_for(source: Source, folder: Path) -> Iterator[None]:
    """Of a source's folder that is not there, says where it was looked for, and who decides that."""
    try:
        yield
    except DropError as error:
        if error.reason != "drop.not_found" or os.path.lexists(folder):
            raise
        message = (
            f"There is no folder `{folder.name}`: {source.uri} is {folder}. The drops of tenant {source.tenant} lie in "
            f"{source.root}; the platform's setting RECALL_DROPS says where those of all tenants do."
        )
        raise DropError(error.reason, message, error.details) from error


@contextmanager
def _told_of(newest: drops.DropRef | None) -> Iterator[None]:
    """Names the drop in what is said to be wrong with it."""
    try:
        yield
    except DropError as error:
        if newest is not None:
            error.details["drop"] = newest.name
        raise


def _told(drop: drops.Drop, ref: drops.DropRef | None) -> FoundDrop:
    return FoundDrop(
        name=drop.name,
        marker=ref.marker if ref else "",
        fingerprint=drop.fingerprint,
        count=drop.count,
        model_version=drop.model_version,
        files=len(drop.item_files),
        bytes=drop.bytes,
        skipped=ref.skipped if ref else (),
    )


def _answer(order: dict[str, Any], seconds_max: float, check: Callable[[], None]) -> dict[str, Any]:
    """The line that the child says. Raises what it says that went wrong."""
    until = time.monotonic() + seconds_max
    # The child's own temporary folder lies in one of ours, which is gone even when the child was ended.
    with tempfile.TemporaryDirectory(prefix="recall-find-") as folder, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "bundles.find_child", json.dumps(order), str(seconds_max)],
            env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        try:
            output = _output(child, until, check)
        finally:
            child.kill()
            child.communicate()
            _log_words(stderr)
    try:
        said: dict[str, Any] = json.loads(output)
    except ValueError:
        message = f"The search for a drop ended with code {child.returncode} and without a result."
        raise SourceError("source.failed", message) from None
    if "error" in said:
        raise _error(said["error"])
    return said


def _log_words(stderr: IO[bytes]) -> None:
    """What the child logged: kinds of errors, never what a server said."""
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - STDERR_TAIL_BYTES))
    words = stderr.read().decode(errors="replace").strip()
    if words:
        log.warning("The search for a drop said: %s", words)


def _output(child: subprocess.Popen[bytes], until: float, check: Callable[[], None]) -> bytes:
    while True:
        check()
        try:
            output, _ = child.communicate(timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > until:
                raise SourceError("source.timeout", "The server did not answer in time.", remedy="Try again.") from None
        else:
            return output


def _found(said: dict[str, Any]) -> FoundDrop:
    found = said["found"]
    return FoundDrop(**{**found, "skipped": tuple(found["skipped"])})


def error_to_dict(error: BundleError) -> dict[str, Any]:
    """For a child's line."""
    return {"reason": error.reason, "message": error.message, "owner": error.owner, "details": error.details}


def _error(told: dict[str, Any]) -> BundleError:
    kind = told["reason"].partition(".")[0]
    if kind == "source":
        return SourceError(told["reason"], told["message"], owner=told["owner"])
    if kind == "uri":
        return UriError(told["reason"], told["message"], remedy=told["details"]["remedy"])
    return DropError(told["reason"], told["message"], told["details"])


def to_dict(found: FoundDrop) -> dict[str, Any]:
    """For a child's line."""
    return asdict(found)
