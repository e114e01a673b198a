"""Has engines remove, or release, what indexes are made of outside their folders, before the folders go.

In a child of its own: what it imports for this is too heavy for a worker that lives long, and a server may be silent.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from engines import registry
from workers.child import run_child
from workers.folders import is_index
from workers.outcomes import StepFailed

CHILD = "workers.children.removing"
# Less than a tick of the sweeper that asks for it.
SECONDS_MAX = 25.0
MEMORY_BYTES_MAX = 2**30


def held_back(going: Iterable[Path], staying: Callable[[], Iterable[Path]], *, child: str = CHILD) -> dict[Path, str]:
    """Of the folders `going`, artifacts, working folders and single indexes, those that have to stay for now, and why,
    for people.

    `staying`: all those whose indexes are wanted, but an index that goes; it is asked when it matters. `child` does to
    the others what it does.
    """
    folder_of = {index: folder for folder in going for index in _indexes(folder) if registry.is_more_than_files(index)}
    if not folder_of:
        return {}
    owner_of = {index: _owner(index.parent) for index in folder_of}
    owners = set(owner_of.values())
    kept = [folder for folder in staying() if _owner(folder) in owners]
    # A disk that is away must not look like an index that nobody wants.
    unseen = {_owner(folder): folder for folder in kept if not folder.is_dir()}
    blind = {folder_of[index]: unseen[owner] for index, owner in owner_of.items() if owner in unseen}
    wanted = [index for folder in kept for index in _indexes(folder) if index not in folder_of]
    left = _left(child, [index for index, folder in folder_of.items() if folder not in blind], wanted)
    return {
        **{folder: f"{missing}, which may be made of the same, is not there." for folder, missing in blind.items()},
        **{folder_of[index]: why for index, why in left.items()},
    }


def asked(child: str, order: dict[str, Any]) -> dict[str, Any]:
    """What a child says that asks the servers of engines. Raises StepFailed, also when it takes too long."""
    limits = {
        "parent_pid": os.getpid(),
        "nice": settings.BUILD_NICE,
        "cpus": settings.BUILD_CPUS,
        "memory_bytes_max": MEMORY_BYTES_MAX,
    }
    with tempfile.TemporaryDirectory(prefix="recall-outside-") as folder:
        return run_child(child, limits | order, Path(folder), check=_until(SECONDS_MAX), progress=_nobody_hears)


def _left(child: str, going: list[Path], staying: list[Path]) -> dict[Path, str]:
    try:
        return _done(child, going, staying) if going else {}
    except StepFailed as error:
        return dict.fromkeys(going, error.message)


def _done(child: str, going: list[Path], staying: list[Path]) -> dict[Path, str]:
    """Raises StepFailed, with which all of `going` are left."""
    order = {"going": [str(path) for path in going], "staying": [str(path) for path in staying]}
    done = asked(child, order)
    return {Path(index): why for index, why in done["left"].items()}


def _owner(folder: Path) -> tuple[str, str]:
    """Tenant and service, by whose names it lies; nobody else's index is made of the same."""
    return folder.parent.parent.name, folder.parent.name


def _indexes(folder: Path) -> list[Path]:
    """An index is its own; an artifact has one, a working folder one of each worker that began to build. Nothing else
    is looked into: what a tenant has delivered may have any name. Empty where there is no such folder.
    """
    if is_index(folder):
        return [folder]
    try:
        return [path for path in folder.iterdir() if is_index(path) and path.is_dir()]
    except OSError:
        return []


def _until(seconds: float) -> Callable[[], None]:
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end:
            raise StepFailed("engine.too_slow", f"It was not done within {seconds:g} s.")

    return check


def _nobody_hears(_done: int, _expected: int, _unit: str = "rows", /) -> None:
    """Such an errand tells no progress."""
