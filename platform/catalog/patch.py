"""A part of a spec laid over the whole of it: objects merge, everything else replaces. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged_spec(stored: Mapping[str, Any], patch: Mapping[Any, Any]) -> dict[Any, Any]:
    """`stored` with `patch` laid over it. Null is a value (it switches a guard off), not a removal.

    Another engine starts from its own parameters, and takes those of the search that were set and not those that were
    left empty, which it may not know. Of the recall target and fixed search parameters the one that is given ousts the
    other.
    """
    result: dict[Any, Any] = {**stored}
    for key, value in patch.items():
        if key == "engine":
            result[key] = _merged_engine(stored[key], value)
        elif key == "search" and isinstance(value, Mapping):
            result[key] = _merged_search(stored[key], value)
        else:
            result[key] = _merged(stored.get(key), value)
    if _names_another_engine(stored, result["engine"]) and _search_params(result):
        set_ones = {name: value for name, value in _search_params(result).items() if value is not None}
        result["search"] = {**result["search"], "params": set_ones}
    return result


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that differ, as {"guards.min_items": value}, before and after."""
    old, new = _fields_of(before), _fields_of(after)
    changed = [path for path in {**old, **new} if old.get(path) != new.get(path)]
    return {path: old.get(path) for path in changed}, {path: new.get(path) for path in changed}


def _names_another_engine(stored: Mapping[str, Any], engine: Any) -> bool:
    return isinstance(engine, Mapping) and engine.get("name") != stored["engine"]["name"]


def _search_params(spec: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Empty where there are none, or something else stands in their place, which is refused later."""
    params = spec["search"].get("params") if isinstance(spec.get("search"), Mapping) else None
    return params if isinstance(params, Mapping) else {}


def _merged_engine(stored: Any, given: Any) -> Any:
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping) or given.get("name", stored["name"]) != stored["name"]:
        return given
    return _merged(stored, given)


def _merged_search(stored: Mapping[str, Any], given: Mapping[Any, Any]) -> dict[Any, Any]:
    base = dict(stored)
    if given.get("params") is not None:
        base.update(recall_target=None, params=None)
    elif given.get("recall_target") is not None:
        base["params"] = None
    return {**base, **given}


def _merged(stored: Any, given: Any) -> Any:
    if not isinstance(stored, Mapping) or not isinstance(given, Mapping):
        return given
    return {**stored, **{key: _merged(stored.get(key), value) for key, value in given.items()}}


def _fields_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{block}.{field}": value for block, fields in spec.items() for field, value in fields.items()}
