"""Syntax to tree: names, forms and literals against the attributes of a schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from lark import Token

from replicas.filters import grammar, tree
from replicas.filters.limits import FilterInvalid
from replicas.filters.tree import Filter, Literal, Order

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# Of a whole number; more cannot be an int64, and Python refuses to read thousands.
INT64_DIGITS_MAX: Final = 19
NAMES_SHOWN_MAX: Final = 20
SHOWN_CHARACTERS_MAX: Final = 40
LIST_TYPE: Final = "list<string>"
ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


def parse(text: str, attributes: Mapping[str, str]) -> Filter:
    """The filter that `text` is under a schema whose attributes have these types.

    Raises FilterInvalid, an InvalidQuery of the field `filter`, which says where and what would do.
    """
    return _typed(grammar.read(text), attributes)


def _typed(syntax: grammar.Syntax, attributes: Mapping[str, str]) -> Filter:
    if isinstance(syntax, grammar.Test):
        return _test(syntax, attributes)
    parts = [_typed(part, attributes) for part in syntax.parts]
    if syntax.word == "not":
        return tree.negation(parts[0])
    return tree.every(parts) if syntax.word == "and" else tree.either(parts)


def _test(test: grammar.Test, attributes: Mapping[str, str]) -> Filter:
    name = str(test.name)
    kind = attributes.get(name)
    if kind is None:
        raise FilterInvalid("FILTER_ATTRIBUTE_UNKNOWN", _unknown(name, attributes), at=test.name.start_pos)
    match test.form:
        case "is_null":
            return tree.IsNull(name)
        case "is_not_null":
            return tree.negation(tree.IsNull(name))
        case "contains" | "contains_any":
            return _holds(test, name, kind)
        case "compared":
            return _comparison(test, name, kind)
        case "one_of":
            return tree.one_of(name, _scalars(test, name, kind))
        case _:
            return tree.negation(tree.one_of(name, _scalars(test, name, kind)))


def _holds(test: grammar.Test, name: str, kind: str) -> Filter:
    if kind != LIST_TYPE:
        message = f"{name} is {kind}; `contains` asks what a {LIST_TYPE} holds. Write `==` or `in`"
        raise FilterInvalid("FILTER_TYPE_MISMATCH", message, at=test.name.start_pos)
    return tree.holds(name, [_string(literal, name, kind) for literal in test.literals])


def _comparison(test: grammar.Test, name: str, kind: str) -> Filter:
    literal = _scalars(test, name, kind)[0]
    if test.operator in ("==", "!="):
        equal = tree.one_of(name, [literal])
        return equal if test.operator == "==" else tree.negation(equal)
    if kind == "bool":
        message = f"{name} is bool, which has no order; write `==` or `!=`"
        raise FilterInvalid("FILTER_TYPE_MISMATCH", message, at=test.name.start_pos)
    return tree.Comparison(name, Order(test.operator), literal)


def _scalars(test: grammar.Test, name: str, kind: str) -> list[Literal]:
    """The literals of a test whose attribute holds one value."""
    if kind == LIST_TYPE:
        message = f"{name} is {kind}; write `{name} contains` or `{name} contains_any`"
        raise FilterInvalid("FILTER_TYPE_MISMATCH", message, at=test.name.start_pos)
    return [_scalar(literal, name, kind) for literal in test.literals]


def _scalar(literal: Token, name: str, kind: str) -> Literal:
    match kind, literal.type:
        case "string", "STRING":
            return _string(literal, name, kind)
        case "int64", "INTEGER":
            return _integer(literal)
        case "float64", "INTEGER" | "FLOAT":
            return _float(literal)
        case "bool", "TRUE" | "FALSE":
            return literal.type == "TRUE"
    raise _mismatch(literal, name, kind)


def _string(literal: Token, name: str, kind: str) -> str:
    if literal.type != "STRING":
        raise _mismatch(literal, name, kind)

    def plain(escape: re.Match[str]) -> str:
        if escape[1] not in ESCAPES:
            message = f"`{escape[0]}` is no escape; a backslash itself is written `\\\\`"
            raise FilterInvalid("FILTER_SYNTAX", message, at=(literal.start_pos or 0) + 1 + escape.start())
        return ESCAPES[escape[1]]

    return ESCAPE.sub(plain, literal[1:-1])


def _integer(literal: Token) -> int:
    digits = literal.lstrip("-").lstrip("0") or "0"
    size = int(digits) if len(digits) <= INT64_DIGITS_MAX else INT64_MAX + 2
    number = -size if literal.startswith("-") else size
    if not INT64_MIN <= number <= INT64_MAX:
        message = f"{_shown(literal)} is no int64, which ends at {INT64_MIN} and {INT64_MAX}"
        raise FilterInvalid("FILTER_LITERAL_OUT_OF_RANGE", message, at=literal.start_pos)
    return number


def _float(literal: Token) -> float:
    number = float(literal)
    if not math.isfinite(number):
        message = f"{_shown(literal)} is beyond what a float64 can be"
        raise FilterInvalid("FILTER_LITERAL_OUT_OF_RANGE", message, at=literal.start_pos)
    return number


def _mismatch(literal: Token, name: str, kind: str) -> FilterInvalid:
    wanted = {"string": "a string in quotes", "int64": "a whole number", "float64": "a number", "bool": "true or false"}
    message = f"{_shown(literal)} does not fit {name}, which is {kind}; write {wanted.get(kind, 'a string in quotes')}"
    return FilterInvalid("FILTER_TYPE_MISMATCH", message, at=literal.start_pos)


def _unknown(name: str, attributes: Mapping[str, str]) -> str:
    said = f"the schema has no attribute {_shown(name)}"
    if not attributes:
        return f"{said}; it has none at all, so that items cannot be filtered"
    by_lower_case = {known.lower(): known for known in attributes}
    near = get_close_matches(name.lower(), list(by_lower_case), n=1)
    if near:
        return f"{said}; did you mean {by_lower_case[near[0]]}?"
    return f"{said}; there are {', '.join(list(attributes)[:NAMES_SHOWN_MAX])}"


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}..."
