"""Drops the collections that indexes are made of, and never one that an index which stays is made of.

A server lets anybody drop anything, also what is being searched, so that this is the only guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.errors import EngineError
from engines.milvus.collection import Collection
from engines.milvus.reachable import Reachable, in_any_order
from engines.milvus.reference import Reference, references_in


def remove(going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
    """As `engines.base.IndexRemover` says. Raises IndexUnreadable."""
    kept = {_place(each) for folder in staying for each in references_in(folder)}
    reachable = Reachable()
    left: dict[Path, str] = {}
    for folder in in_any_order(going):
        try:
            for each in references_in(folder):
                if _place(each) not in kept:
                    with reachable.at(each.instance) as where:
                        Collection(where, each.collection).drop()
        except EngineError as error:
            left[folder] = error.message
    return left


def _place(reference: Reference) -> tuple[str, str]:
    return reference.instance, reference.collection
