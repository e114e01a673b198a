"""What was typed as a question, or what is wrong with it beside each field; and the address that says it again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from console.snippets.question import MERGE_DEFAULT, Feature, Item, Question, Value

BY = ("vector", "items", "features")
MERGES = {"MAX": "best score", "WEIGHTED_SUM": "sum of scores", "ROUND_ROBIN": "by turns"}
LIVE = "live"
TOP_K_DEFAULT = 10
# What a feature's field is called: this and the feature's name.
FEATURE = "f."
# The fields of the page beside those of features; an address has no others.
NAMES = ("by", "vector", "items", "keep", "merge", "filter", "k", "ef", "on", "beside", "check")
DEFAULTS = {"by": "vector", "merge": MERGE_DEFAULT, "k": str(TOP_K_DEFAULT), "on": LIVE}

TEXT_CHARACTERS_MAX = 500_000
TOO_LONG = f"A question has at most {TEXT_CHARACTERS_MAX:,} characters here. Ask it by a program."
# Longer than this a line of HTTP is not understood by everything on its way.
ADDRESS_CHARACTERS_MAX = 2_000
SHOWN_CHARACTERS_MAX = 40
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
FLOAT32_MAX = 3.4028234e38

VERSION = re.compile(r"[0-9]{1,9}")
SEPARATOR = re.compile(r"[,\n]")
WEIGHT = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?")
QUOTED = json.JSONDecoder()
BOOLS = {"true": True, "1": True, "false": False, "0": False}

Schema = Mapping[str, Any]


class Wrong(ValueError):
    """A text that is not what its field takes; the message stands beside the field."""


class Entry(NamedTuple):
    """An entry of a list: a text in JSON's quotes, if it begins with one, and what else there is of it."""

    quoted: str | None
    rest: str

    def whole(self) -> str:
        """Raises Wrong."""
        if self.quoted is None:
            return self.rest
        if self.rest:
            raise Wrong(f"{_shown(self.rest)} stands behind a text in quotes. Write commas between entries.")
        return self.quoted

    def with_weight(self) -> tuple[str, str | None]:
        """What stands behind its last colon is its weight, if that is a number. Raises Wrong."""
        before, colon, weight = self.rest.rpartition(":")
        if colon and WEIGHT.fullmatch(weight.strip()) and bool(before.strip()) == (self.quoted is None):
            return Entry(self.quoted, before.strip()).whole(), weight.strip()
        return self.whole(), None


@dataclass(frozen=True)
class Typed:
    """`values`: the fields as they were typed, with defaults for those that were not. `is_asked`: there is something
    to ask by, at least as a field.
    """

    values: Mapping[str, str]
    is_asked: bool

    @property
    def by(self) -> str:
        return self.values["by"]

    def version(self, name: str) -> int:
        """The version that `on` or `beside` names; 0 for the live one, or none."""
        text = self.values[name]
        return int(text) if VERSION.fullmatch(text) else 0

    def changed(self, **changes: str) -> Typed:
        """The same with other fields."""
        return typed({**self.values, **changes})

    def address(self, **changes: str) -> str:
        """The query of the page's address that asks for this, or for this with other fields."""
        said = {**self.values, **changes}
        kept = {name: text for name, text in said.items() if self._counts(name, text, said["by"])}
        return urlencode(kept, safe=",:")

    def is_shareable(self) -> bool:
        return len(self.address()) <= ADDRESS_CHARACTERS_MAX

    @staticmethod
    def _counts(name: str, text: str, by: str) -> bool:
        if name.startswith(FEATURE):
            return by == "features"
        if name in ("vector", "items"):
            return bool(text) and name == by
        if name == "merge" and by == "items":
            return False
        return bool(text) and text != DEFAULTS.get(name)


@dataclass
class Read:
    """`faults`: field -> what is wrong with it. `question` holds when there are none."""

    question: Question
    faults: dict[str, str] = field(default_factory=dict)


def typed(data: Mapping[str, str]) -> Typed:
    """The fields of the page out of a form or an address; what is no field of it is left out."""
    values = {name: data.get(name, DEFAULTS.get(name, "")).strip() for name in NAMES}
    values |= {name: text.strip() for name, text in data.items() if name.startswith(FEATURE)}
    if values["by"] not in BY:
        values["by"] = BY[0]
    by = values["by"]
    is_asked = any(name.startswith(FEATURE) for name in values) if by == "features" else bool(values[by])
    return Typed(values, is_asked)


def read(said: Typed, schema: Schema) -> Read:
    """The question that was typed to a service of this schema."""
    found = Read(Question())
    values = said.values
    question = {
        "top_k": _part(found, "k", lambda: _whole(values["k"], INT32_MAX)),
        "ef": _part(found, "ef", lambda: _whole(values["ef"], INT32_MAX) if values["ef"] else None),
        "merge": values["merge"] if values["merge"] in MERGES and said.by != "items" else MERGE_DEFAULT,
        "filter": values["filter"],
        "require_version": said.version("on"),
        "attributes": tuple(each["name"] for each in schema["attributes"]),
        "keep_query_items": said.by == "items" and bool(values["keep"]),
    }
    if said.by == "vector":
        question["vectors"] = _part(found, "vector", lambda: vectors_of(values["vector"]))
    elif said.by == "items":
        has_text_ids = schema["id_type"] == "string"
        question["items"] = _part(found, "items", lambda: items_of(values["items"], has_text_ids=has_text_ids))
    else:
        question["features"] = tuple(_features(found, values, schema))
    for name in ("on", "beside"):
        if not (values[name] in ("", LIVE) or VERSION.fullmatch(values[name])):
            found.faults[name] = f"{_shown(values[name])} is no version: say live, or its number."
    if not found.faults:
        found.question = Question(**question)
    return found


def vectors_of(text: str) -> tuple[tuple[float, ...], ...]:
    """One vector a line, or JSON: a list of numbers, or of such lists. Raises Wrong."""
    if not text:
        raise Wrong("Type a vector: its numbers, with commas between them; one vector a line.")
    if len(text) > TEXT_CHARACTERS_MAX:
        raise Wrong(TOO_LONG)
    if not text.startswith("["):
        lines = [line for line in map(str.strip, re.split(r"[\n;]", text)) if line]
        return tuple(tuple(map(_number, filter(None, re.split(r"[,\s]+", line)))) for line in lines)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Wrong("It begins like JSON and is none: a list of numbers, or a list of such lists.") from error
    rows = found if found and isinstance(found[0], list) else [found]
    if not all(isinstance(row, list) and row for row in rows):
        raise Wrong("A vector is a list of numbers; several are a list of such lists.")
    return tuple(tuple(map(_number, row)) for row in rows)


def items_of(text: str, *, has_text_ids: bool) -> tuple[Item, ...]:
    """`1, 2:0.5`: ids with commas between them, and behind a colon a weight. Raises Wrong."""
    items = tuple(_item(entry, has_text_ids=has_text_ids) for entry in _entries(text))
    if not items:
        raise Wrong("Type the ids of items, with commas between them, and weights if you like: 1, 2:0.5")
    return items


def item_text(key: int | str) -> str:
    """An id as the field takes it."""
    text = str(key)
    is_plain = isinstance(key, int) or re.fullmatch(r"[^\s,:\"]+", text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _features(found: Read, values: Mapping[str, str], schema: Schema) -> Iterator[Feature]:
    """A feature that is not typed is not sent, and the gateway says whether it is missed; an empty list is one."""
    for each in (schema.get("query_model") or {}).get("inputs", ()):
        name = FEATURE + each["name"]
        is_list = each["max_length"] is not None
        text = values.get(name, "")
        if not text and not is_list:
            continue
        read_all = _part(
            found, name, lambda text=text, each=each, is_list=is_list: _values(text, each["type"], is_list)
        )
        yield Feature(each["name"], each["type"], read_all or (), is_list)


def _values(text: str, kind: str, is_list: bool) -> tuple[Value, ...]:
    entries = list(_entries(text))
    if not is_list and (len(entries) != 1 or entries[0].quoted is None):
        entries = [Entry(None, text)]
    return tuple(_value(entry.whole(), kind) for entry in entries)


def _value(text: str, kind: str) -> Value:
    match kind:
        case "int64":
            return _int64(text, "A value")
        case "float32":
            return _number(text)
        case "bool":
            if text.lower() not in BOOLS:
                raise Wrong(f"{_shown(text)} is neither true nor false.")
            return BOOLS[text.lower()]
    return text


def _item(entry: Entry, *, has_text_ids: bool) -> Item:
    key, weight = entry.with_weight()
    number = None if weight is None else _number(weight)
    return Item(key if has_text_ids else _int64(key, "An id of this service"), number)


def _entries(text: str) -> Iterator[Entry]:
    """The entries of a list; what is between two commas and empty is none. Raises Wrong."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise Wrong(TOO_LONG)
    place = 0
    while place < len(text):
        if text[place].isspace() or text[place] == ",":
            place += 1
            continue
        quoted, place = _quoted(text, place) if text[place] == '"' else (None, place)
        end = SEPARATOR.search(text, place)
        stop = end.start() if end else len(text)
        yield Entry(quoted, text[place:stop].strip())
        place = stop


def _quoted(text: str, place: int) -> tuple[str, int]:
    """The text in JSON's quotes that begins there, and where it ends. Raises Wrong."""
    try:
        found, end = QUOTED.raw_decode(text, place)
    except ValueError as error:
        raise Wrong(f"{_shown(text[place:])} begins with a quote and does not end as a text in JSON.") from error
    return str(found), end


def _part(found: Read, name: str, read_it: Any) -> Any:
    """What `read_it` gives; what is wrong with it becomes the field's fault."""
    try:
        return read_it()
    except Wrong as wrong:
        found.faults[name] = str(wrong)
        return None


def _whole(text: str, greatest: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(greatest)) or int(text) > greatest:
        raise Wrong(f"{_shown(text)} is no whole number from 0 to {greatest:,}.")
    return int(text)


def _int64(text: str, what: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]{1,19}", text) or not -INT64_MAX - 1 <= int(text) <= INT64_MAX:
        raise Wrong(f"{what} is a whole number of 64 bits; {_shown(text)} is not.")
    return int(text)


def _number(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= FLOAT32_MAX:
        raise Wrong(f"{_shown(str(value))} is no number that a float32 can hold.")
    return number


def _shown(text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"
    return f"“{cut}”"
