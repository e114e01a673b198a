"""JSON laid out for people: short values on one line, long ones broken, long lists of numbers filled to the width."""

from __future__ import annotations

import json
import textwrap
from typing import Any

WIDTH = 100
STEP = 2


def as_json(value: Any, indent: int = 0) -> str:
    """`value` as JSON whose first line starts where it is put, and the others `indent` deep."""
    short = json.dumps(value, ensure_ascii=False)
    if len(short) + indent <= WIDTH or not value or not isinstance(value, dict | list):
        return short
    deeper = indent + STEP
    if isinstance(value, dict):
        lines = [f"{json.dumps(name, ensure_ascii=False)}: {as_json(each, deeper)}" for name, each in value.items()]
        return _in_brackets("{", ",\n".join(" " * deeper + line for line in lines), "}", indent)
    if all(isinstance(each, int | float) for each in value):
        return _in_brackets("[", filled(map(json.dumps, value), deeper), "]", indent)
    return _in_brackets("[", ",\n".join(" " * deeper + as_json(each, deeper) for each in value), "]", indent)


def filled(words: Any, indent: int) -> str:
    """Words without blanks in them, with commas between, on as few lines as hold them."""
    pad = " " * indent
    return textwrap.fill(", ".join(words), WIDTH, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False,
                         break_long_words=False)  # fmt: skip


def _in_brackets(opening: str, inside: str, closing: str, indent: int) -> str:
    return f"{opening}\n{inside}\n{' ' * indent}{closing}"
