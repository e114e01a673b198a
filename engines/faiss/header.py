"""The layout of a faiss 1.15 file, walked before the library reads it: its own loader allocates what lengths say."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from engines.base import IndexSpec
from engines.description import Metric
from engines.errors import IndexMismatch, IndexUnreadable
from engines.faiss.params import FaissParams

INDEX_FILE = "graph.faiss"

# The library's own numbers. Cosine vectors arrive normalised, so that their inner product is the cosine.
INNER_PRODUCT, SQUARED_DISTANCE = 0, 1
METRICS: dict[Metric, int] = {"ip": INNER_PRODUCT, "cosine": INNER_PRODUCT, "l2": SQUARED_DISTANCE}
GRAPHS = {"Flat": b"IHNf", "SQ8": b"IHNs"}
FLAT_STORAGES = {INNER_PRODUCT: b"IxFI", SQUARED_DISTANCE: b"IxF2"}
CODED_STORAGE = b"IxSQ"

# In native byte order and not padded. Of an index: kind, dimension, items, two unused, whether it is trained, metric.
HEAD = struct.Struct("=4siqqqBi")
LENGTH = struct.Struct("=Q")
# After the graph's arrays: entry point, top level, efforts of building and searching, one unused.
GRAPH_END = struct.Struct("=5i")
# Of a quantizer: kind, how its range is found, that way's argument, dimension, bytes of a code.
QUANTIZER = struct.Struct("=iifQQ")
EIGHT_BITS = 0
DOUBLE_BYTES, LINK_BYTES, LEVEL_BYTES, PLACE_BYTES, FLOAT_BYTES = 8, 4, 4, 8, 4
LEVELS_MAX = 64


def check_head(path: Path, spec: IndexSpec, params: FaissParams, count: int) -> None:
    """Refuse a file that cannot be an index of `count` rows by this spec; every length in it is looked at.

    Raises IndexUnreadable, IndexMismatch.
    """
    try:
        with path.open("rb") as file:
            _Walk(file, path, spec, params, count).to_the_end()
    except OSError as error:
        raise IndexUnreadable(f"{path.name}: {error.strerror}") from error


class _Walk:
    """Goes through the file from length to length."""

    def __init__(self, file: BinaryIO, path: Path, spec: IndexSpec, params: FaissParams, count: int) -> None:
        self._file, self._name, self._bytes = file, path.name, path.stat().st_size
        self._spec, self._params, self._count = spec, params, count
        self._metric = METRICS[spec.metric]

    def to_the_end(self) -> None:
        self._head(GRAPHS[self._params.storage])
        self._graph()
        if self._params.storage == "Flat":
            self._head(FLAT_STORAGES[self._metric])
            self._array(FLOAT_BYTES, self._count * self._spec.dimension)
        else:
            self._head(CODED_STORAGE)
            self._quantizer()
            self._array(1, self._count * self._spec.dimension)
        self._must(self._file.tell() == self._bytes)

    def _head(self, kind: bytes) -> None:
        found, dimension, items, _, _, trained, metric = self._read(HEAD)
        self._must(found == kind and trained == 1)
        self._same("items", items, self._count)
        self._same("dimension", dimension, self._spec.dimension)
        self._same("metric", metric, self._metric)

    def _graph(self) -> None:
        levels = self._length()
        self._must(1 <= levels <= LEVELS_MAX)
        self._skip(DOUBLE_BYTES * levels)
        self._must(self._length() == levels + 1)
        _, lowest, *_ = struct.unpack(f"={levels + 1}i", self._take(LINK_BYTES * (levels + 1)))
        self._same("M", lowest // 2, self._params.M)
        self._array(LEVEL_BYTES, self._count)
        self._must(self._length() == self._count + 1)
        self._skip(PLACE_BYTES * self._count)
        [links] = self._read(LENGTH)
        self._array(LINK_BYTES, links)
        entry, top_level, *_ = self._read(GRAPH_END)
        self._must(0 <= entry < self._count and 0 <= top_level < levels)

    def _quantizer(self) -> None:
        kind, _, _, dimension, code_bytes = self._read(QUANTIZER)
        self._must(kind == EIGHT_BITS and dimension == code_bytes == self._spec.dimension)
        self._array(FLOAT_BYTES, 2 * self._spec.dimension)

    def _array(self, item_bytes: int, expected: int) -> None:
        self._must(self._length() == expected)
        self._skip(item_bytes * expected)

    def _length(self) -> int:
        [length] = self._read(LENGTH)
        return int(length)

    def _read(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self._take(layout.size))

    def _take(self, size: int) -> bytes:
        found = self._file.read(size)
        self._must(len(found) == size)
        return found

    def _skip(self, size: int) -> None:
        self._must(self._file.tell() + size <= self._bytes)
        self._file.seek(size, 1)

    def _must(self, sound: bool) -> None:
        if not sound:
            at, whole = self._file.tell(), self._bytes
            raise IndexUnreadable(f"{self._name} is no index of this spec, seen at byte {at:,} of {whole:,}")

    def _same(self, field: str, found: int, expected: int) -> None:
        if found != expected:
            raise IndexMismatch(f"the index has {field} {found}, expected {expected}", field=field)
