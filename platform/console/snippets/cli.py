"""A question by the `recall` program."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from console.snippets.layout import as_json
from console.snippets.question import MERGE_DEFAULT, Endpoint, Feature, Item, Question, Value

# What is longer is read from stdin.
ARGUMENT_CHARACTERS_MAX = 100


def written(question: Question, endpoint: Endpoint) -> str:
    """One command. Ids with a comma in them are beyond it; then it is a comment that says so."""
    if any("," in str(item.id) for item in question.items):
        return "# The command takes ids with commas between them: one with a comma in it is asked for by a program.\n"
    option, value, long_value = _asked_by(question)
    from_stdin = len(value) > ARGUMENT_CHARACTERS_MAX and bool(long_value)
    arguments = [option, "-" if from_stdin else shlex.quote(value), *_options(question)]
    command = f"recall query {endpoint.short_name} {' '.join(arguments)}"
    stdin = f" <<'EOF'\n{long_value}\nEOF" if from_stdin else ""
    return f"RECALL_GATEWAY={shlex.quote(endpoint.gateway)} \\\n  {command}{stdin}\n"


def _asked_by(question: Question) -> tuple[str, str, str]:
    """The option, its value, and its value on stdin where it takes one from there."""
    if question.vectors:
        vectors = [list(vector) for vector in question.vectors]
        asked = vectors[0] if len(vectors) == 1 else vectors
        return "--vector", json.dumps(asked), as_json(asked)
    if question.items:
        return "--items", ",".join(map(_item, question.items)), ""
    features = {feature.name: _feature(feature) for feature in question.features}
    return "--features", json.dumps(features, ensure_ascii=False), as_json(features)


def _item(item: Item) -> str:
    # What stands behind an id's last colon would be taken for its weight.
    weight = 1.0 if item.weight is None and ":" in str(item.id) else item.weight
    return f"{item.id}" if weight is None else f"{item.id}:{weight!r}"


def _feature(feature: Feature) -> Value | list[Value]:
    values = list(feature.values)
    return values if feature.is_list else values[0]


def _options(question: Question) -> Iterator[str]:
    yield f"-k {question.top_k}"
    if question.filter:
        yield f"--filter {shlex.quote(question.filter)}"
    if question.merge != MERGE_DEFAULT:
        yield f"--merge {question.merge.lower()}"
    if question.keep_query_items:
        yield "--keep-query-items"
    if question.ef is not None:
        yield f"--ef {question.ef}"
    if question.exact:
        yield "--exact"
    if question.require_version:
        yield f"--require-version {question.require_version}"
    for name in question.attributes:
        yield f"--attribute {name}"
    if question.trace:
        yield "--trace"
