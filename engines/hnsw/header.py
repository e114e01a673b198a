"""The head of an hnswlib 0.8 file, read before the library sees the file: its own loader trusts what it reads."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from engines.description import Metric
from engines.errors import IndexMismatch, IndexUnreadable

INDEX_FILE = "hnsw.bin"

# Offset of level 0, capacity, count, bytes per element, label offset, data offset, top level, entry point,
# links per item above and at level 0, M, level multiplier, ef_construction; native byte order, not padded.
HEAD = struct.Struct("=6QiI3QdQ")
LABEL_BYTES = 8
LINK_BYTES = 4
FLOAT_BYTES = 4

# Cosine vectors arrive normalised, so that their inner product is the cosine.
SPACES: dict[Metric, str] = {"ip": "ip", "cosine": "ip", "l2": "l2"}


@dataclass(frozen=True)
class Head:
    """What an index file says it holds."""

    capacity: int
    count: int
    dimension: int
    links: int
    bytes_min: int  # The head, all elements at level 0, and one length for each element's upper levels.


def read_head(path: Path) -> Head:
    """The head of an index file whose size fits it. Raises IndexUnreadable."""
    try:
        with path.open("rb") as file:
            start = file.read(HEAD.size)
        size = path.stat().st_size
    except OSError as error:
        raise IndexUnreadable(f"{path.name}: {error.strerror}") from error
    if len(start) < HEAD.size:
        raise IndexUnreadable(f"{path.name} has {size} bytes, too few for its head")
    _, capacity, count, element_bytes, label_at, data_at, _, _, _, _, links, _, _ = HEAD.unpack(start)
    if label_at + LABEL_BYTES != element_bytes or data_at >= label_at:
        raise IndexUnreadable(f"{path.name} does not start like an index file")
    bytes_min = HEAD.size + count * (element_bytes + LINK_BYTES)
    if size < bytes_min:
        raise IndexUnreadable(f"{path.name} has {size} bytes, its {count} items need at least {bytes_min}")
    return Head(capacity, count, (label_at - data_at) // FLOAT_BYTES, links, bytes_min)


def check_head(head: Head, *, count: int, dimension: int, links: int) -> None:
    """Refuse an index of another count, dimension or M. Raises IndexMismatch."""
    wanted = {"items": count, "dimension": dimension, "M": links}
    found = {"items": head.count, "dimension": head.dimension, "M": head.links}
    for name, value in wanted.items():
        if found[name] != value:
            raise IndexMismatch(f"the index has {name} {found[name]}, expected {value}", field=name)
    if head.capacity < head.count:
        raise IndexMismatch(f"the index has room for {head.capacity} items and claims {head.count}", field="items")
