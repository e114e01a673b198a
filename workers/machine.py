"""What this machine has: memory, as far as this process may use it, and disk. A container's limits count."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


class Memory(NamedTuple):
    total: int
    available: int


def memory() -> Memory:
    """The least of what the system has and what each control group (v2) around this process may have."""
    seen = psutil.virtual_memory()
    total, available = seen.total, seen.available
    for folder in _cgroups():
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            # Pages of files are given back before anything is killed.
            held = int((folder / "memory.current").read_text()) - _file_pages(folder)
            total, available = min(total, int(limit)), min(available, int(limit) - held)
    return Memory(total, max(0, available))


def disk_free_bytes(path: Path) -> int:
    """What may still be written where `path` is or is going to be."""
    found = os.statvfs(_present(path))
    return found.f_bavail * found.f_frsize


def is_one_disk(path: Path, other: Path) -> bool:
    """Whether a file can be in both without being there twice."""
    return os.stat(_present(path)).st_dev == os.stat(_present(other)).st_dev


def held_by_children(pid: int) -> int:
    """Private memory of all processes below `pid`; nothing for one that is gone."""
    held = 0
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return 0
    for child in children:
        try:
            seen = child.memory_info()
        except psutil.Error:
            continue  # It has just ended, and holds nothing.
        held += max(0, seen.rss - seen.shared)
    return held


def _present(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _cgroups() -> list[Path]:
    """The groups around this process that have a memory limit's file, innermost first; none without cgroup v2."""
    lines = OWN_CGROUP.read_text().splitlines() if OWN_CGROUP.is_file() else []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    folder = CGROUPS / own.lstrip("/")
    around = [folder, *(each for each in folder.parents if each.is_relative_to(CGROUPS))]
    return [each for each in around if (each / "memory.max").is_file()]


def _file_pages(folder: Path) -> int:
    lines = (folder / "memory.stat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split()[0] in ("inactive_file", "active_file"))
