"""At which instance a build is made: while an index is built, the searches of its instance wait for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.errors import IndexUnreadable, ParamsInvalid
from engines.milvus.instances import configured, lacks
from engines.milvus.reference import references_in


def building_instance(beside: Sequence[str]) -> str:
    """The one that serves nothing of `beside`, else what is least needed of it; of equals the first one configured.

    Raises ParamsInvalid when none is configured.
    """
    if lack := lacks():
        raise ParamsInvalid(lack, field="engine")
    foremost: dict[str, int] = {}
    for place, folder in enumerate(beside):
        for name in _instances_of(Path(folder)):
            foremost.setdefault(name, place)
    return max(configured(), key=lambda name: foremost.get(name, len(beside)))


def _instances_of(index_dir: Path) -> set[str]:
    """Empty when the folder cannot be read: what serves has been read before, and a build is not refused for this."""
    try:
        return {each.instance for each in references_in(index_dir)}
    except IndexUnreadable:
        return set()
