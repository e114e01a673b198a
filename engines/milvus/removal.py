"""Drops or releases the collections that indexes are made of, and never one that an index which stays is made of.

A server lets anybody drop anything, also what is being searched, so that this is the only guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from engines.errors import EngineError
from engines.milvus.collection import Collection
from engines.milvus.connection import InstanceUnknown
from engines.milvus.instances import SETTING
from engines.milvus.reachable import Reachable, in_any_order
from engines.milvus.reference import Reference, references_in

# Of a name that is not configured any more. Where there is no such collection there is nothing left to do.
REMEDY: Final = (
    f"An administrator has to name it again in {SETTING}; if it is gone for good, point its name at any instance "
    "that is there: what is not found counts as removed."
)


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
        except InstanceUnknown as error:
            left[folder] = f"{error.message}. {REMEDY}"
        except EngineError as error:
            left[folder] = error.message
    return left


def _place(reference: Reference) -> tuple[str, str]:
    return reference.instance, reference.collection
