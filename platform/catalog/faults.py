"""Turns what pydantic objects to into faults that people can mend: {field, message}, the field as a path."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

Fault = dict[str, Any]
Loc = tuple[int | str, ...]

FAULTS_MAX = 50
SHOWN_CHARACTERS_MAX = 60
# Python refuses to write out whole numbers of thousands of digits.
SHOWN_BITS_MAX = 64
SUGGESTION_CUTOFF = 0.6

# pydantic's words for what users write as JSON or YAML.
_WORDS = (
    ("Input should be", "Must be"),
    ("a valid tuple", "a list"),
    ("a valid dictionary or instance of", "an object, the block"),
    ("a valid dictionary", "an object"),
    ("Tuple should", "The list should"),
    (" after validation", ""),
)


def path_of(loc: Sequence[int | str]) -> str:
    """`("schema", "attributes", 1, "type")` as `schema.attributes[1].type`."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{printable(part)}" if path else printable(part)
    return path


def faults_of(error: ValidationError, model: type[BaseModel], *, root: type[BaseModel], above: Loc = ()) -> list[Fault]:
    """The objections to a `model` that stands at `above` in a `root`."""
    faults = []
    for each in error.errors(include_url=False):
        loc = each["loc"]
        if each["type"] == "extra_forbidden":
            message = unknown_field(loc[-1], _model_at(model, loc[:-1]), root=root)
        else:
            message = _message(each)
        faults.append({"field": path_of((*above, *loc)) or "spec", "message": message})
    return faults


def unknown_field(name: object, model: type[BaseModel] | None, *, root: type[BaseModel]) -> str:
    """Says that `model` has no field `name`, and which one was probably meant."""
    known = field_names(model) if model else []
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=SUGGESTION_CUTOFF)
    if near:
        return f"There is no such field; did you mean {by_lower[near[0]]}?"
    elsewhere = [path for path in _paths(root) if path.rpartition(".")[2] == name]
    if elsewhere:
        return f"There is no such field here; did you mean {elsewhere[0]}?"
    return f"There is no such field; there are {', '.join(known)}." if known else "There is no such field here."


def field_names(model: type[BaseModel]) -> list[str]:
    """The names as users write them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def printable(value: object) -> str:
    """A short text of a value from outside, fit for a message."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…"


def _message(each: Any) -> str:
    if each["type"] == "missing":
        return "This field is required."
    if each["type"] == "value_error":
        return str(each["ctx"]["error"])
    text = str(each["msg"])
    for theirs, ours in _WORDS:
        text = text.replace(theirs, ours)
    given = each["input"]
    if isinstance(given, str):
        return f"{text}, not '{printable(given)}'."
    shown = isinstance(given, float) or (isinstance(given, int) and given.bit_length() <= SHOWN_BITS_MAX)
    return f"{text}, not {given}." if shown else f"{text}."


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """The model that the part of a spec at `loc` is made of; None for what is no model."""
    found: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int):
            continue
        found = models_by_field(found).get(part) if found else None
    return found


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    inner = models_by_field(model)
    for name in field_names(model):
        yield above + name
        if name in inner:
            yield from _paths(inner[name], f"{above}{name}.")


def models_by_field(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The model of each field that has one, by the names as users write them."""
    found = {}
    for name, field in model.model_fields.items():
        for part in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found[field.alias or name] = part
    return found
