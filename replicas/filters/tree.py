"""A filter as a tree of frozen values. Two filters that mean the same by their form alone are equal.

Literals have the type of their attribute: int of an int64, float of a float64, str of a string or of the elements of a
list<string>, bool of a bool. `!=`, `not in` and their like are the Negation of what they negate; `contains` is `Holds`
of one value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

Literal = str | bool | int | float


class Order(Enum):
    """How an attribute stands to a literal."""

    EQUAL = "=="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Comparison:
    """Unknown where the attribute is null."""

    attribute: str
    order: Order
    literal: Literal


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether the attribute is one of the literals, which are sorted and differ; unknown where it is null."""

    attribute: str
    literals: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Holds:
    """Whether a list has one of the literals, which are sorted and differ; unknown where the list is null."""

    attribute: str
    literals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """Never unknown."""

    attribute: str


@dataclass(frozen=True, slots=True)
class Negation:
    """Unknown where its operand is."""

    operand: Filter


@dataclass(frozen=True, slots=True)
class Every:
    """False where one operand is false, else unknown where one is; at least two operands, in a fixed order."""

    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """True where one operand is true, else unknown where one is; at least two operands, in a fixed order."""

    operands: tuple[Filter, ...]


Filter = Comparison | OneOf | Holds | IsNull | Negation | Every | Either


def one_of(attribute: str, literals: Iterable[Literal]) -> Comparison | OneOf:
    different = tuple(sorted(set(literals)))
    return OneOf(attribute, different) if len(different) > 1 else Comparison(attribute, Order.EQUAL, different[0])


def holds(attribute: str, literals: Iterable[str]) -> Holds:
    return Holds(attribute, tuple(sorted(set(literals))))


def negation(operand: Filter) -> Filter:
    return operand.operand if isinstance(operand, Negation) else Negation(operand)


def every(operands: Iterable[Filter]) -> Filter:
    flat = _flat(operands, Every)
    return Every(flat) if len(flat) > 1 else flat[0]


def either(operands: Iterable[Filter]) -> Filter:
    flat = _flat(operands, Either)
    return Either(flat) if len(flat) > 1 else flat[0]


def _flat(operands: Iterable[Filter], kind: type[Every] | type[Either]) -> tuple[Filter, ...]:
    """Each operand once, nested ones of the same kind taken apart, in an order that depends on nothing but them."""
    apart: set[Filter] = set()
    for operand in operands:
        apart.update(operand.operands if isinstance(operand, kind) else (operand,))
    return tuple(sorted(apart, key=repr))
