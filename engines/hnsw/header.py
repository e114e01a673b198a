"""The head of an hnswlib 0.8 file, read before the library sees the file: its own loader trusts what it reads."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal, NamedTuple

from engines.description import Metric
from engines.errors import IndexMismatch, IndexUnreadable

INDEX_FILE = "hnsw.bin"

# Cosine vectors arrive normalised, so that their inner product is the cosine.
Space = Literal["ip", "l2"]
SPACES: dict[Metric, Space] = {"ip": "ip", "cosine": "ip", "l2": "l2"}

# In native byte order and not padded: the sizes, top level and entry point, links above level 0, at level 0, and M,
# level multiplier, ef_construction.
HEAD = struct.Struct("=6QiI3QdQ")
LABEL_BYTES = 8
LINK_BYTES = 4
FLOAT_BYTES = 4
# Levels are drawn from a logarithm of 53 random bits; even with M = 2 none is higher.
TOP_LEVEL_MAX = 64


class Sizes(NamedTuple):
    """Where things are in the file, in bytes."""

    level0_at: int
    capacity: int
    items: int
    element_bytes: int
    label_at: int
    vector_at: int


def check_head(path: Path, *, count: int, dimension: int, links: int) -> None:
    """Refuse a file that cannot be an index of `count` rows of `dimension` with M = `links`.

    Raises IndexUnreadable, IndexMismatch.
    """
    start, size = _read_start(path)
    *numbers, top_level, entry_point, links_above, links_level0, found_links, _, _ = HEAD.unpack(start)
    found, expected = Sizes(*numbers), _expected_sizes(count, dimension, links)
    _check_same("items", found.items, count)
    _check_same("M", found_links, links)
    _check_same("dimension", (found.label_at - found.vector_at) // FLOAT_BYTES, dimension)
    sound = found == expected and (links_above, links_level0) == (links, 2 * links)
    if not sound or not 0 <= top_level <= TOP_LEVEL_MAX or entry_point >= count:
        raise IndexUnreadable(f"{path.name} does not start like an index of this spec")
    bytes_min = HEAD.size + count * (expected.element_bytes + LINK_BYTES)
    if size < bytes_min:
        raise IndexUnreadable(f"{path.name} has {size} bytes, its {count} items need at least {bytes_min}")


def _read_start(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            start = file.read(HEAD.size)
        size = path.stat().st_size
    except OSError as error:
        raise IndexUnreadable(f"{path.name}: {error.strerror}") from error
    if len(start) < HEAD.size:
        raise IndexUnreadable(f"{path.name} has {size} bytes, too few for its head")
    return start, size


def _expected_sizes(count: int, dimension: int, links: int) -> Sizes:
    """An element is the number of its links, room for 2 M of them, its vector, and its label."""
    vector_at = LINK_BYTES + 2 * links * LINK_BYTES
    label_at = vector_at + dimension * FLOAT_BYTES
    return Sizes(0, count, count, label_at + LABEL_BYTES, label_at, vector_at)


def _check_same(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise IndexMismatch(f"the index has {name} {found}, expected {expected}", field=name)
