"""A question by our Python client."""

from __future__ import annotations

import json
from collections.abc import Iterator

from console.snippets.layout import WIDTH, filled
from console.snippets.question import MERGE_DEFAULT, Endpoint, Feature, Question, Value

INDENT = 4
# How deep the arguments of the call stand, and what is left for what stands around a list on its line.
ARGUMENT = 2 * INDENT
ROOM = 20
# An empty list says by its dtype what it is a list of.
EMPTY = {
    "int64": "[]",
    "bool": "[]",
    "float32": "np.empty(0, np.float32)",
    "string": "np.empty(0, str)",
}


def written(question: Question, endpoint: Endpoint) -> str:
    kind = "ItemQuery" if question.items else "FeatureQuery" if question.features else ""
    asked = _asked_by(question)
    names = f"Client, {kind}" if kind else "Client"
    needs_numpy = any("np." in EMPTY[feature.type] for feature in question.features if not feature.values)
    numpy = "import numpy as np\n" if needs_numpy else ""
    arguments = [f"{argument}," for argument in (asked, *_options(question))]
    return (
        f"import os\n\n{numpy}from recall_client import {names}\n\n"
        f'with Client("{endpoint.gateway}", os.environ["RECALL_API_KEY"], service="{endpoint.short_name}") as recall:\n'
        f"    answer = recall.recall(\n{_indented(arguments)}\n    )\n"
        '    print(f"version {answer.version}")\n'
        f"{_loop(question)}"
    )


def _indented(arguments: list[str]) -> str:
    return "\n".join(" " * ARGUMENT + argument for argument in arguments)


def _loop(question: Question) -> str:
    if not question.attributes:
        return "    for item, score in zip(answer.ids, answer.scores):\n        print(item, score)\n"
    return (
        "    columns = zip(answer.ids, answer.scores, *answer.attributes.values())\n"
        "    for row in columns:\n        print(*row)\n"
    )


def _asked_by(question: Question) -> str:
    if question.items:
        return _item_query(question)
    if question.features:
        pairs = [f"{_text(feature.name)}: {_feature(feature)}" for feature in question.features]
        return f"FeatureQuery({_bracketed('{', pairs, '}', ARGUMENT)})"
    if len(question.vectors) == 1:
        return _numbers(question.vectors[0], ARGUMENT)
    return _bracketed("[", [_numbers(vector, ARGUMENT + INDENT) for vector in question.vectors], "]", ARGUMENT)


def _item_query(question: Question) -> str:
    # An id may stand twice, so that this is no dict.
    items = [
        _literal(item.id) if item.weight is None else f"({_literal(item.id)}, {item.weight!r})"
        for item in question.items
    ]
    keep = ", keep_query_items=True" if question.keep_query_items else ""
    return f"ItemQuery({_bracketed('[', items, ']', ARGUMENT)}{keep})"


def _feature(feature: Feature) -> str:
    if not feature.values:
        return EMPTY[feature.type]
    values = [_literal(value) for value in feature.values]
    if not feature.is_list:
        return values[0]
    return _bracketed("[", values, "]", ARGUMENT + INDENT, fill=feature.type != "string")


def _numbers(vector: tuple[float, ...], depth: int) -> str:
    return _bracketed("[", [repr(number) for number in vector], "]", depth, fill=True)


def _bracketed(opening: str, entries: list[str], closing: str, depth: int, *, fill: bool = False) -> str:
    """On one line, or on several of which the last is `depth` deep. `fill`: as many entries on a line as it holds."""
    short = f"{opening}{', '.join(entries)}{closing}"
    if len(short) + depth + ROOM <= WIDTH and "\n" not in short:
        return short
    deeper = depth + INDENT
    inside = filled(entries, deeper) if fill else ",\n".join(" " * deeper + entry for entry in entries)
    return f"{opening}\n{inside},\n{' ' * depth}{closing}"


def _options(question: Question) -> Iterator[str]:
    yield f"top_k={question.top_k}"
    if question.filter:
        yield f"filter={_text(question.filter)}"
    if question.merge != MERGE_DEFAULT:
        yield f'merge="{question.merge.lower()}"'
    if question.ef is not None:
        yield f"ef={question.ef}"
    if question.exact:
        yield "exact=True"
    if question.require_version:
        yield f"require_version={question.require_version}"
    if question.attributes:
        yield f"return_attributes=[{', '.join(map(_text, question.attributes))}]"
    if question.trace:
        yield "trace=True"


def _literal(value: Value) -> str:
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """JSON's way to write a text is Python's too, as long as no letter is escaped by halves."""
    return json.dumps(text, ensure_ascii=False)
