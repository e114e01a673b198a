"""Arrow columns of any producer turned into the types of a schema, with a mark on each row that does not fit.

NaN in a column of numbers is how pandas writes a missing value, so it becomes null here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bundles.batches import Flags, Float32, Int64
from bundles.schema import ATTRIBUTE_TYPES

TEXT_BYTES_MAX = 4_096
LIST_LENGTH_MAX = 1_000
# Beyond it a float64 is no int64.
INT64_END = float(2**63)


class Typed(NamedTuple):
    """A column of the wanted type, null where `bad` [n] marks a value that does not fit."""

    values: pa.Array
    bad: Flags


def accepts(type_name: str, found: pa.DataType) -> bool:
    """Whether a column of the type `found` can be read as the attribute type `type_name` at all.

    One without a single value has the type null where the writer did not know better, which is every type.
    """
    return bool(pa.types.is_null(found)) or _ACCEPTED[type_name](found)


def attribute(array: pa.Array, type_name: str) -> Typed:
    """Converts a column for which `accepts` is true."""
    if pa.types.is_null(array.type):
        return Typed(pa.nulls(len(array), ATTRIBUTE_TYPES[type_name]), _no_flags(array))
    return _CONVERTED[type_name](array)


def identifiers(array: pa.Array, id_type: str) -> pa.Array:
    """int64 or large_string, null where the id is null or cannot be one (out of range, empty, too long, no UTF-8)."""
    if id_type == "int64":
        return integers(array).values
    found = texts(array).values
    return _without(found, _flags(pc.equal(pc.binary_length(found), 0)))


def integers(array: pa.Array) -> Typed:
    """int64 from any integers, or from floats without a fraction; NaN becomes null."""
    if pa.types.is_uint64(array.type):
        bad = _flags(pc.greater(array, pa.scalar(2**63 - 1, pa.uint64())))
        return Typed(pc.cast(_without(array, bad), pa.int64()), bad)
    if not pa.types.is_floating(array.type):
        return Typed(array.cast(pa.int64()), _no_flags(array))
    numbers = floats(array).values
    whole = numbers.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        fits = (np.trunc(whole) == whole) & (whole >= -INT64_END) & (whole < INT64_END)
    bad = ~fits & _flags(numbers.is_valid())
    return Typed(pc.cast(_without(numbers, bad), pa.int64()), bad)


def floats(array: pa.Array) -> Typed:
    """float64 from any numbers; NaN becomes null."""
    numbers = pc.cast(array, pa.float64(), safe=False)
    return Typed(_without(numbers, _flags(pc.is_nan(numbers))), _no_flags(array))


def booleans(array: pa.Array) -> Typed:
    return Typed(array, _no_flags(array))


def texts(array: pa.Array) -> Typed:
    """large_string from texts, plain or by dictionary; bad when not UTF-8 or above TEXT_BYTES_MAX."""
    if pa.types.is_dictionary(array.type):
        # Checked before it is expanded: a few bytes can hide a long text repeated in each row.
        words = texts(array.dictionary)
        bad = _flags(pa.array(words.bad).take(array.indices)) if len(words.bad) else _no_flags(array)
        # Copied when there was a bad one: Arrow would reserve room by the mean of lengths that are gone.
        known = pa.array(words.values.to_pylist(), pa.large_string()) if words.bad.any() else words.values
        return Typed(known.take(array.indices), bad)
    octets = array.cast(pa.large_binary())
    bad = _flags(pc.greater(pc.binary_length(octets), TEXT_BYTES_MAX))
    try:
        return Typed(_as_text(_without(octets, bad)), bad)
    except pa.ArrowInvalid:
        bad = bad | np.fromiter((not _is_utf8(each.as_py()) for each in octets), np.bool_, len(octets))
        return Typed(_as_text(_without(octets, bad)), bad)


def text_lists(array: pa.Array) -> Typed:
    """large_list<large_string>; bad when an element is null or bad, or there are more than LIST_LENGTH_MAX."""
    words = texts(array.flatten())
    rows = _parents(array)
    bad = _flags(pc.greater(pc.list_value_length(array), LIST_LENGTH_MAX))
    bad[rows[words.bad | _flags(words.values.is_null())]] = True
    lengths = _lengths(array)
    offsets = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))])
    nulls = pa.array((lengths < 0) | bad)
    return Typed(pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), words.values, mask=nulls), bad)


def ids_in_lists(array: pa.Array, id_type: str) -> tuple[pa.Array, Int64]:
    """The ids in lists for which `is_id_list` is true, as `identifiers` but without nulls, and the row [n] of each."""
    found = identifiers(array.flatten(), id_type)
    there = _flags(found.is_valid())
    return found.drop_null(), _parents(array)[there]


def vectors(array: pa.Array, dimension: int) -> tuple[Float32, Int64]:
    """Lists of floats as float32 [n, dimension] and their lengths [n], -1 for null.

    Rows of another length are zero. A null among the numbers of a vector is NaN.
    """
    lengths = _lengths(array)
    with np.errstate(over="ignore"):
        # A float64 beyond float32 becomes infinity, which is a bad row like any other infinity.
        numbers = array.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    fits = lengths == dimension
    if fits.all():
        return numbers.reshape(-1, dimension), lengths
    found = np.zeros((len(lengths), dimension), np.float32)
    found[fits] = numbers[np.repeat(fits, np.maximum(lengths, 0))].reshape(-1, dimension)
    return found, lengths


def is_vector(found: pa.DataType) -> bool:
    return _is_list(found) and pa.types.is_floating(found.value_type)


def is_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        return is_text(found.value_type)
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def is_text_list(found: pa.DataType) -> bool:
    # Lists that are all empty are lists of null.
    return _is_list(found) and (is_text(found.value_type) or bool(pa.types.is_null(found.value_type)))


def is_id_list(found: pa.DataType, id_type: str) -> bool:
    """Whether each cell can be a list of ids of that type; integers of any width are int64."""
    if not _is_list(found):
        return False
    value = found.value_type
    fits = pa.types.is_integer(value) if id_type == "int64" else is_text(value)
    return bool(fits or pa.types.is_null(value))


def all_true(rows: int) -> Flags:
    return np.ones(rows, np.bool_)


def _is_list(found: pa.DataType) -> bool:
    return bool(pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found))


def _is_number(found: pa.DataType) -> bool:
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found))


def _is_boolean(found: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(found))


def _lengths(array: pa.Array) -> Int64:
    lengths: Int64 = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), -1).to_numpy()
    return lengths


def _parents(array: pa.Array) -> Int64:
    lengths = _lengths(array)
    return np.repeat(np.arange(len(lengths), dtype=np.int64), np.maximum(lengths, 0))


def _flags(array: pa.Array) -> Flags:
    flags: Flags = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return flags.copy()


def _no_flags(array: pa.Array) -> Flags:
    return np.zeros(len(array), np.bool_)


def _without(array: pa.Array, bad: Flags) -> pa.Array:
    return pc.if_else(pa.array(bad), pa.scalar(None, array.type), array) if bad.any() else array


def _as_text(octets: pa.Array) -> pa.Array:
    found = octets.cast(pa.large_string())
    found.validate(full=True)
    return found


def _is_utf8(octets: bytes | None) -> bool:
    try:
        (octets or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


_ACCEPTED: dict[str, Callable[[pa.DataType], bool]] = {
    "string": is_text,
    "int64": _is_number,
    "float64": _is_number,
    "bool": _is_boolean,
    "list<string>": is_text_list,
}
_CONVERTED: dict[str, Callable[[pa.Array], Typed]] = {
    "string": texts,
    "int64": integers,
    "float64": floats,
    "bool": booleans,
    "list<string>": text_lists,
}
