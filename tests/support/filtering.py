"""Filters made at random, as text and as SQL, and what a real SQL database says that they select.

A made filter is a nested tuple: ("compare", name, op, literal), ("in", name, negated, literals), ("contains", name,
literals), ("null", name, negated), ("not", made), ("and", mades) or ("or", mades).
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from bundles.schema import ATTRIBUTE_TYPES

TYPES = {"title": "string", "year": "int64", "score": "float64", "new": "bool", "genre": "list<string>"}
# Few values, so that tests are often true, often false, and often on the edge.
TEXTS = ["", "a", "b", "B", "it's", 'say "no"', "back\\slash", "two\nlines", "é", "漢字", "and", "null"]
YEARS = [-(2**63), -1, 0, 1, 1999, 2000, 2**53 + 1, 2**63 - 1]
SCORES = [-1.5, -0.0, 0.0, 0.25, 1e-300, 1e300]
LITERALS: Mapping[str, Sequence[Any]] = {"title": TEXTS, "year": YEARS, "score": SCORES, "new": [True, False]}
OPERATORS = ["==", "!=", "<", "<=", ">", ">="]
LISTS = st.lists(st.sampled_from(TEXTS), max_size=3)

Items = dict[str, list[Any]]


def items(rows: int) -> st.SearchStrategy[Items]:
    """The attributes of `rows` items, nulls among them."""
    values = {name: LISTS if name == "genre" else st.sampled_from(LITERALS[name]) for name in TYPES}
    columns = {name: st.lists(st.none() | value, min_size=rows, max_size=rows) for name, value in values.items()}
    return st.fixed_dictionaries(columns)


def table_of(columns: Items) -> pa.Table:
    return pa.table({name: pa.array(values, ATTRIBUTE_TYPES[TYPES[name]]) for name, values in columns.items()})


@st.composite
def tests(draw: st.DrawFn) -> tuple[Any, ...]:
    name = draw(st.sampled_from(list(TYPES)))
    if draw(st.integers(0, 5)) == 0:
        return ("null", name, draw(st.booleans()))
    if name == "genre":
        return ("contains", name, draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4)))
    literal = st.sampled_from(LITERALS[name])
    if draw(st.booleans()):
        return ("in", name, draw(st.booleans()), draw(st.lists(literal, min_size=1, max_size=4)))
    return ("compare", name, draw(st.sampled_from(OPERATORS[:2] if name == "new" else OPERATORS)), draw(literal))


MADE = st.recursive(
    tests(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


def text_of(made: tuple[Any, ...], style: random.Random) -> str:
    """The filter as somebody might write it: any case, any quotes, needless parentheses and spaces."""
    match made:
        case ("compare", name, op, literal):
            text = f"{name}{_space(style)}{op}{_space(style)}{_literal(literal, style)}"
        case ("in", name, negated, literals):
            text = f"{name} {_word('not ', style) if negated else ''}{_word('in', style)} {_list(literals, style)}"
        case ("contains", name, [literal]) if style.random() < 0.5:
            text = f"{name} {_word('contains', style)} {_literal(literal, style)}"
        case ("contains", name, literals):
            text = f"{name} {_word('contains_any', style)}{_space(style)}{_list(literals, style)}"
        case ("null", name, negated):
            text = f"{name} {_word('is', style)} {_word('not ', style) if negated else ''}{_word('null', style)}"
        case ("not", inner):
            text = f"{_word('not', style)} ({text_of(inner, style)})"
        case (word, parts):
            # `and` binds closer than `or`; other parts stand in parentheses.
            text = f" {_word(word, style)} ".join(f"({text_of(part, style)})" for part in parts)
    return f"({text})" if style.random() < 0.1 else text


def selected(made: tuple[Any, ...], columns: Items) -> list[int]:
    """The rows that SQLite selects by the same WHERE clause."""
    rows = len(next(iter(columns.values())))
    with closing(sqlite3.connect(":memory:")) as database:
        database.create_function("holds", 2, _holds, deterministic=True)
        database.execute(
            "CREATE TABLE items (row INTEGER, title TEXT, year INTEGER, score REAL, new INTEGER, genre TEXT)"
        )
        genres = [None if value is None else json.dumps(value) for value in columns["genre"]]
        cells = zip(
            range(rows), columns["title"], columns["year"], columns["score"], columns["new"], genres, strict=True
        )
        database.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", cells)
        parameters: list[Any] = []
        query = f"SELECT row FROM items WHERE {_sql(made, parameters)} ORDER BY row"  # noqa: S608  Made here.
        found = database.execute(query, parameters)
        return [row for (row,) in found]


def _holds(genres: str | None, wanted: str) -> bool | None:
    return None if genres is None else bool(set(json.loads(genres)) & set(json.loads(wanted)))


def _sql(made: tuple[Any, ...], parameters: list[Any]) -> str:
    match made:
        case ("compare", name, op, literal):
            parameters.append(literal)
            return f"{name} {op} ?"
        case ("in", name, negated, literals):
            parameters.extend(literals)
            return f"{name} {'NOT ' if negated else ''}IN ({', '.join('?' * len(literals))})"
        case ("contains", name, literals):
            parameters.append(json.dumps(literals))
            return f"holds({name}, ?)"
        case ("null", name, negated):
            return f"{name} IS {'NOT ' if negated else ''}NULL"
        case ("not", inner):
            return f"NOT ({_sql(inner, parameters)})"
        case (word, parts):
            return f" {word} ".join(f"({_sql(part, parameters)})" for part in parts)
    raise AssertionError(made)


def _word(word: str, style: random.Random) -> str:
    return word.upper() if style.random() < 0.3 else word.title() if style.random() < 0.1 else word


def _space(style: random.Random) -> str:
    return style.choice(["", " ", "  ", "\n\t"])


def _list(literals: Sequence[Any], style: random.Random) -> str:
    return f"[{_space(style)}{', '.join(_literal(each, style) for each in literals)}{_space(style)}]"


def _literal(value: Any, style: random.Random) -> str:
    if isinstance(value, bool):
        return _word(str(value).lower(), style)
    if isinstance(value, str):
        quote = style.choice("\"'")
        plain = value.replace("\\", "\\\\").replace(quote, f"\\{quote}")
        return quote + (plain.replace("\n", "\\n") if style.random() < 0.5 else plain) + quote
    return repr(value)
