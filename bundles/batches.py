"""What every format offers, and the batch in which rows leave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.schema import ImportSchema

Float32 = np.ndarray[Any, np.dtype[np.float32]]
Int64 = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

SEARCHABLE_COLUMN = "searchable"
ERROR_CHARACTERS_MAX = 300


@dataclass(frozen=True)
class BatchLimits:
    """How much is in memory at a time: so many rows, and so many bytes of decoded columns."""

    rows: int = 65_536
    bytes: int = 64 << 20

    def batch_rows(self, row_bytes: int) -> int:
        return max(1, min(self.rows, self.bytes // max(1, row_bytes)))


DEFAULT_LIMITS = BatchLimits()


@dataclass(frozen=True)
class RawBatch:
    """Consecutive rows of one file; `first_row` is the 1-based number of the first one.

    `ids`: integers or texts, null where there is none that can be read.
    `vectors`: float32 [n, dimension]; a row counts only where `lengths` [n] equals the dimension (-1: null).
    `attributes`: a column of the schema's type for each attribute; `bad_cells` [n]: one of them, or
    `searchable`, cannot be read. `bad_lines` [n]: no row could be made of a line at all; None where files have no
    lines. `shown_ids`: the ids as they are in the file, for the report.
    """

    file: str
    first_row: int
    ids: pa.Array
    shown_ids: pa.Array
    vectors: Float32
    lengths: Int64
    attributes: Mapping[str, pa.Array]
    searchable: Flags
    bad_cells: Flags
    bad_lines: Flags | None = None


@dataclass(frozen=True)
class FileDescription:
    """Columns of a file and its first rows, the vector as one list column."""

    schema: pa.Schema
    sample: pa.Table


class Format(Protocol):
    """A module under `formats` that reads one kind of file. All raise DropError for a file they cannot read."""

    # Whether the ids lie in a file of their own.
    IDS_APART: bool
    # What a vector looks like in it, for a message.
    VECTOR_FORM: str

    def count_rows(self, item: ItemFile, /) -> int | None:
        """Rows by the file's own header, None when only reading tells."""

    def describe(self, item: ItemFile, rows: int, /) -> FileDescription:
        """Columns and at most `rows` first rows."""

    def read(self, item: ItemFile, schema: ImportSchema, limits: BatchLimits, /) -> Iterator[RawBatch]:
        """All rows in order, in batches within the limits."""


@dataclass
class Place:
    """How far a reader has come: `rows` were read of its file."""

    rows: int = 0

    def __str__(self) -> str:
        return f" after row {self.rows}" if self.rows else ""


@contextmanager
def reading(item: ItemFile, kind: str) -> Iterator[Place]:
    """Turns what a library says about a damaged file into a DropError, the cause being a change if there was one.

    So it does with memory that is not there: of a file that is read in pieces it is one piece that does not fit.
    """
    place = Place()
    try:
        yield place
    except MemoryError as error:
        message = (
            f"{item.name}{place} holds a piece that does not fit into the memory of an import. "
            "Write smaller pages and shorter values."
        )
        raise DropError("drop.too_large", message, {"file": item.name, "row": place.rows + 1}) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError) as error:
        item.check_unchanged()
        said = (str(error).splitlines() or [""])[0][:ERROR_CHARACTERS_MAX]
        message = f"{item.name} cannot be read as {kind}{place}: {said}"
        raise DropError("drop.unreadable", message, {"file": item.name, "row": place.rows + 1}) from error


def missing_column(file: str, column: str, found: list[str], what: str = "") -> DropError:
    message = f"{file} has no column `{column}`{what}; it has {', '.join(found[:100]) or 'none'}."
    return DropError("drop.missing_column", message, {"file": file, "column": column, "found": found[:100]})


def bad_id_type(file: str, column: str, *, found: str, told: str, expected: str, fitting: str) -> DropError:
    """`found` is a type or an example, `told` says so in a sentence, `fitting` is the id_type they have, if any."""
    remedy = f" If the ids are right, write `id_type: {fitting}` in the service's schema." if fitting else ""
    message = f"The ids in {file} (column `{column}`) are {told}; the schema says {expected}.{remedy}"
    details = {"file": file, "column": column, "found": found, "expected": expected}
    return DropError("drop.bad_id_type", message, details)


def dimension_mismatch(file: str, found: int, expected: int) -> DropError:
    message = f"The vectors in {file} have {found} dimensions; the schema says {expected}."
    return DropError("drop.dimension_mismatch", message, {"file": file, "found": found, "expected": expected})
