"""The children of a process that builds."""

from __future__ import annotations

import psutil


def index_builders(parent: psutil.Process) -> list[psutil.Process]:
    """Those of its children, and of theirs, that build an index just now."""
    return [child for child in parent.children(recursive=True) if _builds_an_index(child)]


def _builds_an_index(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "engines.build" in child.cmdline()
    except psutil.NoSuchProcess:
        return False  # It has ended since it was listed, as those do that only look something up.
