"""Ids as sorted 64-bit keys: which rows of an import repeat an id, and in which row an id is.

The key of an int64 id is the id itself; the key of a text is the first 8 bytes of its blake2b digest, so two texts
can share one: texts are compared wherever keys are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundles.batches import Flags, Int64

Shelves = NDArray[np.uint8]

KEY_BYTES = 8
COMPARED_AT_A_TIME = 65_536


@dataclass(frozen=True)
class Arrangement:
    """Where rows go, from the order in which they were read ("read order") to the order of the artifact.

    `kept` [n] in read order: the first row of its id. `order` [items]: the read order of each row of the artifact,
    shelf by shelf: `partition_rows` says how many rows each partition has, and what is not searchable comes last.
    `keys` [items] sorted, `rows` [items] the artifact's row of each key.
    """

    kept: Flags
    order: Int64
    partition_rows: tuple[int, ...]
    keys: Int64
    rows: Int64

    @property
    def searchable(self) -> int:
        return sum(self.partition_rows)


def shelves(keys: Int64, searchable: Flags, partitions: int) -> Shelves:
    """The shelf of each row [n]: its partition, which is its key modulo their number; the last is for no answers.

    An id is in the same partition in every version with as many of them.
    """
    return np.where(searchable, np.mod(keys, partitions), partitions).astype(np.uint8)


def arrange(keys: Int64, searchable: Flags, texts: pa.Array | None, partitions: int = 1) -> Arrangement:
    """Keeps the first row of each id and puts rows shelf by shelf, in read order otherwise."""
    by_key = np.argsort(keys, kind="stable").astype(np.int64, copy=False)
    first = _first_of_their_id(keys[by_key], by_key, texts)
    kept = np.zeros(len(keys), np.bool_)
    kept[by_key[first]] = True
    stored = np.flatnonzero(kept)
    on = shelves(keys[stored], searchable[stored], partitions)
    order = stored[np.argsort(on, kind="stable")]
    *partition_rows, _ = np.bincount(on, minlength=partitions + 1).tolist()
    artifact_row = np.full(len(keys), -1, np.int64)
    artifact_row[order] = np.arange(len(order))
    kept_by_key = by_key[first]
    return Arrangement(kept, order, tuple(partition_rows), keys[kept_by_key], artifact_row[kept_by_key])


def text_keys(texts: pa.Array) -> Int64:
    """The key of each text: int64 [n]."""
    digests = b"".join([blake2b(text.encode()).digest()[:KEY_BYTES] for text in texts.to_pylist()])
    return np.frombuffer(digests, "<i8").astype(np.int64, copy=False)


def find_integers(keys: Int64, rows: Int64, wanted: Int64) -> Int64:
    """The row of each wanted id, -1 where there is none."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, rows[places], -1)


def find_texts(keys: Int64, rows: Int64, texts: pa.Array, wanted: pa.Array) -> Int64:
    """The row of each wanted text, -1 where there is none; `texts` holds the id of each row."""
    found = np.full(len(wanted), -1, np.int64)
    wanted_keys = text_keys(wanted)
    places = np.searchsorted(keys, wanted_keys)
    pending = np.arange(len(wanted))
    # Nearly always one round: another one only for texts that share the key of the one before.
    while len(pending):
        pending = pending[places[pending] < len(keys)]
        pending = pending[keys[places[pending]] == wanted_keys[pending]]
        candidates = rows[places[pending]]
        same = _equal(texts.take(pa.array(candidates)), wanted.take(pa.array(pending)))
        found[pending[same]] = candidates[same]
        pending = pending[~same]
        places[pending] += 1
    return found


def _first_of_their_id(sorted_keys: Int64, by_key: Int64, texts: pa.Array | None) -> Flags:
    """[n] over the sorted keys. Equal keys stand in read order, because the sort was stable."""
    first = np.ones(len(sorted_keys), np.bool_)
    first[1:] = sorted_keys[1:] != sorted_keys[:-1]
    if texts is None or first.all():
        return first
    leaders = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))
    repeated = np.flatnonzero(~first)
    for start in range(0, len(repeated), COMPARED_AT_A_TIME):
        places = repeated[start : start + COMPARED_AT_A_TIME]
        same = _equal(texts.take(pa.array(by_key[places])), texts.take(pa.array(by_key[leaders[places]])))
        for leader in np.unique(leaders[places[~same]]):
            _tell_apart(int(leader), leaders, first, by_key, texts)
    return first


def _tell_apart(leader: int, leaders: Int64, first: Flags, by_key: Int64, texts: pa.Array) -> None:
    """Marks the first row of each different text among rows that share one key."""
    end = int(np.searchsorted(leaders, leader, side="right"))
    seen: set[str] = set()
    for place in range(leader, end):
        text = texts[int(by_key[place])].as_py()
        first[place] = text not in seen
        seen.add(text)


def _equal(left: pa.Array, right: pa.Array) -> Flags:
    same: Flags = pc.equal(left, right).to_numpy(zero_copy_only=False)
    return same
