"""Which items two imports or artifacts share, and which only one of them has, by their sorted keys.

Keys are mapped and looked up a chunk at a time, so that memory does not grow with the items. Two texts with one key
would count as one id: of 2^64 keys that is nothing beside a percentage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bundles.batches import Flags, Int64
from bundles.catalogue import Lookup
from workers.children.program import RowsDone

CHUNK_KEYS = 1 << 20
# Shown to people, of each kind.
SAMPLE_IDS = 10
# Kept ones that are picked, from all over the keys: enough to ask by.
PICKED_MAX = 500


@dataclass(frozen=True)
class IdSets:
    """Counts of ids only here, only in the other, and in both; `samples` are some ids of each, as texts.

    `picked` holds ids that both have, as the schema has them.
    """

    added: int
    removed: int
    kept: int
    samples: dict[str, list[str]]
    picked: list[Any]

    @property
    def counts(self) -> dict[str, int]:
        return {"added": self.added, "removed": self.removed, "kept": self.kept}


def compare(ours: Lookup, other: Lookup, said: RowsDone) -> IdSets:
    """`ours` beside `other`; `said` hears of the keys of both."""
    total = len(ours.keys) + len(other.keys)
    added, kept = _Places(), _Places()
    for start, chunk, known in _looked_up(ours.keys, other.keys):
        added.add(start, ~known)
        kept.add(start, known)
        said(start + len(chunk), total)
    removed = _Places()
    for start, chunk, known in _looked_up(other.keys, ours.keys):
        removed.add(start, ~known)
        said(len(ours.keys) + start + len(chunk), total)
    found = {"added": (ours, added), "removed": (other, removed), "kept": (ours, kept)}
    return IdSets(
        added=added.count,
        removed=removed.count,
        kept=kept.count,
        samples={name: [str(each) for each in places.ids(of, SAMPLE_IDS)] for name, (of, places) in found.items()},
        picked=kept.ids(ours, PICKED_MAX),
    )


def _looked_up(keys: Int64, others: Int64) -> Iterator[tuple[int, Int64, Flags]]:
    """(place of the first, chunk of `keys`, whether each is among `others`), chunk after chunk; both are sorted."""
    for start in range(0, len(keys), CHUNK_KEYS):
        chunk = keys[start : start + CHUNK_KEYS]
        yield start, chunk, _are_among(chunk, others)


def _are_among(chunk: Int64, others: Int64) -> Flags:
    if not len(others):
        return np.zeros(len(chunk), np.bool_)
    places = np.minimum(np.searchsorted(others, chunk), len(others) - 1)
    known: Flags = others[places] == chunk
    return known


class _Places:
    """Counts places among the keys, and remembers some of each chunk."""

    def __init__(self) -> None:
        self.count = 0
        self._some: list[Int64] = []

    def add(self, start: int, chosen: Flags) -> None:
        places = np.flatnonzero(chosen)
        self.count += len(places)
        self._some.append(start + places[spread(len(places), PICKED_MAX)])

    def ids(self, of: Lookup, most: int) -> list[Any]:
        """The ids at these places, from all over."""
        some = np.concatenate([np.empty(0, np.int64), *self._some])
        places = some[spread(len(some), most)]
        if of.texts is None:
            numbers: list[Any] = of.keys[places].tolist()
            return numbers
        texts: list[Any] = of.texts.take(pa.array(of.rows[places])).to_pylist()
        return texts


def spread(count: int, most: int) -> Int64:
    """At most `most` of the places 0 to count - 1, rising and evenly apart."""
    return np.unique(np.linspace(0, max(0, count - 1), min(most, count)).astype(np.int64))
