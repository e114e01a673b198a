"""Drops the collections that indexes are made of, and never one that an index which stays is made of.

A server lets anybody drop anything, also what is being searched, so that this is the only guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.errors import EngineError, EngineUnavailable
from engines.milvus.collection import Collection
from engines.milvus.connection import instance
from engines.milvus.reference import Reference, references_in


def remove(going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
    """As `engines.base.IndexRemover` says. Raises IndexUnreadable."""
    kept = {_place(each) for folder in staying for each in references_in(folder)}
    dropping = _Dropping()
    left: dict[Path, str] = {}
    for folder in going:
        try:
            for each in references_in(folder):
                if _place(each) not in kept:
                    dropping.drop(each)
        except EngineError as error:
            left[folder] = error.message
    return left


class _Dropping:
    """Asks an instance that was away no second time, so that a silent one costs its time limit once."""

    def __init__(self) -> None:
        self._away: dict[str, EngineUnavailable] = {}

    def drop(self, reference: Reference) -> None:
        """Raises EngineError."""
        if (away := self._away.get(reference.instance)) is not None:
            raise away
        try:
            Collection(instance(reference.instance), reference.collection).drop()
        except EngineUnavailable as error:
            self._away[reference.instance] = error
            raise


def _place(reference: Reference) -> tuple[str, str]:
    return reference.instance, reference.collection
