"""Drops or releases the collections that indexes are made of, and never one that an index which stays is made of.

A server lets anybody drop anything, also what is being searched, so that this is the only guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engines.errors import EngineError
from engines.milvus.collection import Collection
from engines.milvus.reachable import Reachable, in_any_order
from engines.milvus.reference import Reference, references_in


def remove(going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
    """As `engines.base.IndexRemover` says. Raises IndexUnreadable."""
    return _each(going, staying, Collection.drop)


def release(going: Sequence[Path], staying: Sequence[Path]) -> dict[Path, str]:
    """As `engines.base.IndexReleaser` says. Raises IndexUnreadable."""
    return _each(going, staying, Collection.release)


def _each(going: Sequence[Path], staying: Sequence[Path], what: Callable[[Collection], None]) -> dict[Path, str]:
    """Does it to the collections of `going`, and tells of which folders it could not be done."""
    kept = {_place(each) for folder in staying for each in references_in(folder)}
    reachable = Reachable()
    left: dict[Path, str] = {}
    for folder in in_any_order(going):
        try:
            for each in references_in(folder):
                if _place(each) not in kept:
                    with reachable.at(each.instance) as where:
                        what(Collection(where, each.collection))
        except EngineError as error:
            left[folder] = error.message
    return left


def _place(reference: Reference) -> tuple[str, str]:
    return reference.instance, reference.collection
