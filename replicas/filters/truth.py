"""The truth of a filter for each row, as Arrow's three-valued booleans: true, false, or null for unknown."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replicas.filters.tree import Comparison, Either, Every, Filter, Holds, IsNull, Literal, Negation, OneOf, Order

COMPARE: dict[Order, Callable[[pa.Array, pa.Scalar], pa.BooleanArray]] = {
    Order.EQUAL: pc.equal,
    Order.LESS: pc.less,
    Order.LESS_OR_EQUAL: pc.less_equal,
    Order.GREATER: pc.greater,
    Order.GREATER_OR_EQUAL: pc.greater_equal,
}

Column = Callable[[str], pa.Array]
TruthOf = Callable[[Filter], pa.BooleanArray]


def truth_of(filter_: Filter, column: Column, part: TruthOf) -> pa.BooleanArray:
    """The truth [n] of `filter_` over the values [n] of each attribute that `column` gives.

    Parts of it are asked of `part`, who may remember them. A column has the Arrow type of its attribute (`bundles`).
    """
    match filter_:
        case Comparison(attribute, order, literal):
            values = column(attribute)
            return COMPARE[order](values, pa.scalar(literal, values.type))
        case OneOf(attribute, literals):
            values = column(attribute)
            found = pc.is_in(values, value_set=pa.array([*literals, *_other_zero(literals)], values.type))
            return _unknown_where_null(found, values)
        case Holds(attribute, literals):
            values = column(attribute)
            return _unknown_where_null(_holds(values, literals), values)
        case IsNull(attribute):
            return pc.is_null(column(attribute))
        case Negation(operand):
            return pc.invert(part(operand))
        case Every(operands):
            return reduce(pc.and_kleene, map(part, operands))
        case Either(operands):
            return reduce(pc.or_kleene, map(part, operands))


def _holds(lists: pa.LargeListArray, literals: tuple[str, ...]) -> pa.BooleanArray:
    """Whether each list has one of the literals; whatever for a null."""
    elements = lists.values
    hits = pc.is_in(elements, value_set=pa.array(literals, elements.type)).to_numpy(zero_copy_only=False)
    # Hits before each element, so that a list's are a difference; a list may be empty.
    before = np.concatenate([[0], np.cumsum(hits)])
    offsets = lists.offsets.to_numpy()
    return pa.array(before[offsets[1:]] > before[offsets[:-1]])


def _other_zero(literals: tuple[Literal, ...]) -> list[float]:
    """Arrow looks values up by their bits, by which 0.0 and -0.0 differ."""
    return [-zero for zero in literals if isinstance(zero, float) and zero == 0]


def _unknown_where_null(truth: pa.BooleanArray, values: pa.Array) -> pa.BooleanArray:
    return truth if values.null_count == 0 else pc.if_else(values.is_valid(), truth, pa.scalar(None, pa.bool_()))
