"""Cells of a text file as typed columns; a cell that cannot be read is null and marked.

Each function tries the whole column at once and looks at single cells only when that fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bundles.batches import Flags
from bundles.columns import Typed

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
LIST_SEPARATOR = "|"
# A bracket, then the bracket that ends it, or a first number with a comma or that bracket after it.
LIST_PATTERN = r"^\s*\[\s*(\]|[^\s,]+\s*[,\]])"
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def integers(cells: pa.Array) -> Typed:
    """int64 from decimal digits."""
    return _column(cells, pa.int64(), _integer)


def floats(cells: pa.Array) -> Typed:
    """float64 from decimal notation."""
    return _column(cells, pa.float64(), _float)


def booleans(cells: pa.Array) -> Typed:
    """From true, false, 1 and 0 in either case."""
    return _one_by_one(cells, pa.bool_(), lambda text: _WORDS[text.lower()])


def texts(cells: pa.Array) -> Typed:
    """As they are."""
    return Typed(cells, np.zeros(len(cells), np.bool_))


def text_lists(cells: pa.Array) -> Typed:
    """From a JSON list of texts, or from texts separated by `|`."""
    return _one_by_one(cells, pa.large_list(pa.large_string()), _text_list)


READERS: dict[str, Callable[[pa.Array], Typed]] = {
    "string": texts,
    "int64": integers,
    "float64": floats,
    "bool": booleans,
    "list<string>": text_lists,
}


def number_lists(cells: pa.Array) -> pa.Array:
    """list<float64> from "[0.1, 0.2]"; what is no number is NaN in it, a cell without brackets is an empty list."""
    trimmed = pc.utf8_trim_whitespace(cells)
    inner = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(trimmed, 1, -1))
    bracketed = pc.and_(pc.starts_with(trimmed, "["), pc.ends_with(trimmed, "]"))
    has_numbers = pc.and_(bracketed, pc.greater(pc.binary_length(inner), 0))
    parts = pc.split_pattern(pc.if_else(has_numbers, inner, ""), ",")
    lengths = pc.if_else(has_numbers, pc.list_value_length(parts), 0)
    # An empty text splits into one empty part, which is no number of the list.
    belongs = np.repeat(_flags(has_numbers), pc.fill_null(pc.list_value_length(parts), 0).to_numpy())
    numbers = components(parts.flatten().filter(pa.array(belongs)))
    offsets = np.concatenate([[0], np.cumsum(pc.fill_null(lengths, 0).to_numpy())])
    nulls = pa.array(_flags(cells.is_null()))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), numbers, mask=nulls)


def are_lists(cells: pa.Array) -> Flags:
    """Whether each cell [n] is written as a list, whatever is in it; neither "0.1 0.2" nor NumPy's "[0.1 0.2]" is."""
    closed = pc.ends_with(pc.utf8_trim_whitespace(cells), "]")
    return _flags(pc.and_(closed, pc.match_substring_regex(cells, LIST_PATTERN)))


def hold_vectors(cells: pa.Array) -> bool:
    """Whether most of the cells that are not null are lists of numbers."""
    cells = cells.drop_null()
    if not are_lists(cells).any():
        return False
    lists = number_lists(cells)
    lengths = pc.list_value_length(lists).to_numpy()
    rows = np.repeat(np.arange(len(lists)), lengths)
    finite = np.isfinite(lists.flatten().to_numpy())
    numbers = np.bincount(rows, weights=finite, minlength=len(lists))
    return bool(2 * ((numbers == lengths) & (lengths > 0)).sum() > len(lists))


def components(cells: pa.Array) -> pa.Array:
    """float64 without nulls: a cell that is empty or no number is NaN, which makes its row a bad one."""
    return pc.fill_null(floats(pc.utf8_trim_whitespace(cells)).values, np.nan)


def _column(cells: pa.Array, wanted: pa.DataType, read: Callable[[str], Any]) -> Typed:
    try:
        return Typed(pc.cast(cells, wanted), np.zeros(len(cells), np.bool_))
    except pa.ArrowInvalid:
        return _one_by_one(cells, wanted, read)


def _one_by_one(cells: pa.Array, wanted: pa.DataType, read: Callable[[str], Any]) -> Typed:
    found = [None if cell is None else _or_none(read, cell.strip()) for cell in cells.to_pylist()]
    values = pa.array(found, wanted)
    return Typed(values, _flags(values.is_null()) & _flags(cells.is_valid()))


def _or_none(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except (ValueError, KeyError, RecursionError):
        return None


def _integer(text: str) -> int:
    number = int(text)
    if "_" in text or not INT64_MIN <= number <= INT64_MAX:
        raise ValueError(text)
    return number


def _float(text: str) -> float:
    if "_" in text:
        raise ValueError(text)
    return float(text)


def _text_list(text: str) -> list[str]:
    if not text.startswith("["):
        return text.split(LIST_SEPARATOR) if text else []
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(text)
    return found


def _flags(array: pa.Array) -> Flags:
    flags: Flags = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return flags
