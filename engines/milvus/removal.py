"""Drops collections, explicitly and never one that an index which stays is made of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engines.errors import EngineError
from engines.milvus.collection import Collection
from engines.milvus.connection import instance
from engines.milvus.reference import REFERENCE_FILE, Reference, read_reference


class StillNamed(EngineError):
    """An index that stays is made of the same collection."""


def drop(index_dir: Path, *, staying: Iterable[Path]) -> list[str]:
    """Drop what the index in `index_dir` is made of, in any number of partitions; returns the collections' names.

    `staying`: the folders of all indexes that stay, live ones and those that a rollback goes to; a server lets anybody
    drop anything, so that this is the only guard. The files stay. Raises StillNamed, in which case nothing is dropped,
    IndexUnreadable, EngineUnavailable.
    """
    going = _references(index_dir)
    kept = {(each.instance, each.collection): folder for folder in staying for each in _references(folder)}
    for each in going:
        if folder := kept.get((each.instance, each.collection)):
            raise StillNamed(f"the collection {each.collection} of {index_dir} is that of {folder}, too")
    for each in going:
        Collection(instance(each.instance), each.collection).drop()
    return [each.collection for each in going]


def _references(index_dir: Path) -> list[Reference]:
    return [read_reference(file.parent) for file in sorted(index_dir.rglob(REFERENCE_FILE))]
