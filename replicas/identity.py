"""Who a replica process is, on disk, so that an agent which did not start it can find it.

    {run_dir}/{replica_id}.lock   held (flock) from the process's first moment to its last; says who holds it
    {run_dir}/{replica_id}.json   the identity; written when the replica answers, removed when it drains

A process is named by pid and start time together, since pids come round again.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

CLAIM_SECONDS_MAX = 0.5
CLAIM_POLL_SECONDS = 0.05
RECORD_BYTES_MAX = 65_536
# Fields of /proc/<pid>/stat, counted behind the name in brackets: its state, and its start in ticks since boot.
STAT_STATE, STAT_START = 0, 19


class AlreadyHeld(Exception):
    """Another living process is this replica."""


@dataclass(frozen=True)
class Identity:
    """One replica process. `tenant`, `service` and `version` are known once it is loaded."""

    replica_id: str
    node: str
    pid: int
    started_ticks: int
    address: str
    manifest_sha256: str
    tenant: str = ""
    service: str = ""
    version: int = 0

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.started_ticks


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none, or only its corpse."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    values = text.rpartition(")")[2].split()
    return None if values[STAT_STATE] in "ZX" else int(values[STAT_START])


def lock_path(identity_path: Path) -> Path:
    return identity_path.with_suffix(".lock")


def claim(identity_path: Path, identity: Identity) -> int:
    """Become this replica until the process ends; returns the lock's descriptor. Raises AlreadyHeld."""
    path = lock_path(identity_path)
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    give_up_at = time.monotonic() + CLAIM_SECONDS_MAX
    while not _try_lock(held):
        if time.monotonic() > give_up_at:
            os.close(held)
            raise AlreadyHeld(f"{path} is held by another process")
        time.sleep(CLAIM_POLL_SECONDS)
    os.ftruncate(held, 0)
    os.pwrite(held, json.dumps(asdict(identity)).encode(), 0)
    return held


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def publish(identity_path: Path, identity: Identity) -> None:
    """Write the identity so that a reader meets all of it or nothing."""
    fresh = identity_path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(identity)))
    os.replace(fresh, identity_path)


def read(path: Path) -> Identity | None:
    """The record in a lock or an identity file; None when there is none that can be read."""
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(RECORD_BYTES_MAX))
        return Identity(**{field.name: values[field.name] for field in fields(Identity)})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
