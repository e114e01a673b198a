"""The filters of one loaded version: from text to rows, and what was worked out before is remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Final, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engines.rowset import RowSet
from replicas.filters.parsing import parse
from replicas.filters.tree import Comparison, Filter, Holds, IsNull, OneOf
from replicas.filters.truth import truth_of

# Of one version: rows of whole filters, and truths of single tests, which different filters share. What is admitted to
# a node counts on all three (workers/sizes.py).
ROWS_BYTES_MAX: Final = 24 * 2**20
TRUTHS_BYTES_MAX: Final = 24 * 2**20
# Texts and their trees; a tree takes some ten times its text (measured: 6 to 14).
TEXTS_BYTES_MAX: Final = 4 * 2**20
TREE_BYTES_PER_CHARACTER: Final = 15
TESTS: Final = (Comparison, OneOf, Holds, IsNull)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Matcher:
    """Which rows a filter selects. Any number of threads may ask; what two ask for at once is worked out twice."""

    def __init__(self, attributes: pa.Table | None, types: Mapping[str, str], searchable: int) -> None:
        """`attributes` has a column for each name in `types`, of the Arrow type that `bundles` stores it in; its first
        `searchable` rows are those that may be answered."""
        self._table = None if attributes is None else attributes.slice(0, searchable)
        self._types = types
        self._searchable = searchable
        self._trees: Remembered[str, Filter] = Remembered(TEXTS_BYTES_MAX)
        self._truths: Remembered[Filter, pa.BooleanArray] = Remembered(TRUTHS_BYTES_MAX)
        self._rows: Remembered[Filter, RowSet] = Remembered(ROWS_BYTES_MAX)

    def rows(self, text: str) -> RowSet:
        """The searchable rows that the filter selects. Raises FilterInvalid.

        Filters of one meaning give the very same object, as long as it is remembered.
        """
        size = TREE_BYTES_PER_CHARACTER * len(text)
        tree = self._trees.get(text, lambda: parse(text, self._types), lambda _: size)
        return self._rows.get(tree, lambda: self._select(tree), lambda found: found.held_bytes)

    def _select(self, tree: Filter) -> RowSet:
        truth = pc.fill_null(self._truth(tree), False)
        mask = truth.to_numpy(zero_copy_only=False)
        return RowSet.of_mask(np.ascontiguousarray(mask, dtype=np.bool_))

    def _truth(self, tree: Filter) -> pa.BooleanArray:
        if isinstance(tree, TESTS):
            return self._truths.get(tree, lambda: self._work_out(tree), lambda found: found.nbytes)
        return self._work_out(tree)

    def _work_out(self, tree: Filter) -> pa.BooleanArray:
        return truth_of(tree, self._column, self._truth)

    def _column(self, name: str) -> pa.Array:
        assert self._table is not None  # noqa: S101  A filter that was parsed names attributes that there are.
        column = self._table.column(name)
        return column.chunk(0) if column.num_chunks else pa.array([], column.type)


class Remembered(Generic[Key, Value]):
    """What was used last, up to so many bytes; a value that alone is larger is not kept."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: Key, make: Callable[[], Value], size_of: Callable[[Value], int]) -> Value:
        """The value of `key`, made outside the lock when it is not kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found[0]
        value = make()
        size = size_of(value)
        if size > self._bytes_max:
            return value
        with self._lock:
            if key in self._kept:
                return self._kept[key][0]
            self._kept[key] = value, size
            self._bytes += size
            while self._bytes > self._bytes_max:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._bytes -= dropped
        return value

    @property
    def held_bytes(self) -> int:
        return self._bytes
