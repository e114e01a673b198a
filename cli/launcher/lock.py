"""One launcher per RECALL_HOME."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import CliError


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Holds the lock; it goes with the process, however that ends. Raises CliError that names the holder."""
    descriptor = os.open(run / "launcher.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise CliError(
                f"{run.parent} is already run by process {pid}.",
                remedy="See `recall status`; stop it with `recall down`, or set RECALL_HOME to another folder.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
