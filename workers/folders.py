"""What the folders within a build's working folder are called: what each worker makes, by its fence."""

from __future__ import annotations

import re
from pathlib import Path

from bundles import layout

_INDEX_OF_FENCE = re.compile(rf"{layout.INDEX_FOLDER}-f(\d+)")


def of_fence(name: str, fence: int) -> str:
    """No other worker of the build has one of this name, so that what an earlier one left is never touched."""
    return f"{name}-f{fence}"


def is_index(path: Path) -> bool:
    """Whether it is called as an index is: the one of an artifact, or one that a worker has begun."""
    return path.name == layout.INDEX_FOLDER or fence_of_index(path) is not None


def fence_of_index(path: Path) -> int | None:
    """Of the worker that began to make this index; None when no worker's is called so."""
    found = _INDEX_OF_FENCE.fullmatch(path.name)
    return int(found[1]) if found else None
