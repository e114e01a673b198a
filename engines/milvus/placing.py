"""At which instance a build is made: while an index is built, the searches of its instance wait for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.errors import IndexUnreadable, ParamsInvalid
from engines.milvus.instances import configured, lacks
from engines.milvus.reference import references_in


def building_instance(beside: Sequence[str], together: Sequence[str] = ()) -> str:
    """Where something of `together` is made; else the one that serves nothing of `beside`, else what is least needed of
    it. Of equals the first one configured.

    Raises ParamsInvalid when none is configured.
    """
    if lack := lacks():
        raise ParamsInvalid(lack, field="engine")
    joined = {name for folder in together for name in instances_of(Path(folder))}
    foremost: dict[str, int] = {}
    for place, folder in enumerate(beside):
        for name in instances_of(Path(folder)):
            foremost.setdefault(name, place)
    return max(configured(), key=lambda name: (name in joined, foremost.get(name, len(beside))))


def instances_of(index_dir: Path) -> set[str]:
    """Empty when the folder cannot be read: what serves has been read before, and a build is not refused for this."""
    try:
        return {each.instance for each in references_in(index_dir)}
    except IndexUnreadable:
        return set()
