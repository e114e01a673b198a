"""What differs between two versions by their rows alone: nothing here reads a file or asks a replica.

A difference is {"name", "value", "to", "differs"}: of the first version, and of the one it is compared to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from versions.models import Version

Change = dict[str, Any]

FIGURES = ("items", "searchable_items", "bytes", "recall", "p99_ms")
ATTRIBUTES, QUERY_MODEL, INPUTS = "attributes", "query_model", "inputs"


def schema_changes(version: Version, other: Version) -> list[Change]:
    """The fields that differ; `attributes.genre` is None where there is no such attribute."""
    found = _side_by_side(*(dict(_schema_fields(each.spec.get("schema", {}))) for each in (version, other)))
    return [change for change in found if change["differs"]]


def parameters(version: Version, other: Version) -> list[Change]:
    """What a version was made with and is asked by: engine, search, model, drop."""
    return _side_by_side(_parameters(version), _parameters(other))


def figures(version: Version, other: Version) -> list[Change]:
    """With `difference`: how much more the first one has, None where one of the two is not known."""
    found = _side_by_side(*({name: getattr(each, name) for name in FIGURES} for each in (version, other)))
    return [{**change, "difference": _difference(change)} for change in found]


def step_seconds(version: Version, other: Version) -> list[Change]:
    """How long each step of both builds took, in the order of the first one's."""
    return _side_by_side(_steps(version), _steps(other))


def curve(version: Version) -> dict[str, Any] | None:
    """The curve of tune_search: {"effort", "at", "points": [{"effort", "recall", "ms", "chosen"}]}, or None."""
    tune = version.report.get("tune") or {}
    points = tune.get("curve") or []
    if not points:
        return None
    name, chosen = tune.get("effort", ""), tune.get("search_params", {})
    return {
        "effort": name,
        "at": tune.get("at"),
        "points": [
            {
                "effort": point.get(name),
                "recall": point["recall"],
                "ms": point["ms"],
                "chosen": all(point.get(each) == value for each, value in chosen.items()),
            }
            for point in points
        ],
    }


def _side_by_side(ours: Mapping[str, Any], others: Mapping[str, Any]) -> list[Change]:
    names = dict.fromkeys([*ours, *others])
    return [
        {"name": name, "value": ours.get(name), "to": others.get(name), "differs": ours.get(name) != others.get(name)}
        for name in names
    ]


def _schema_fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each field by its path; a list of named things is told thing by thing."""
    for name, value in schema.items():
        if name == ATTRIBUTES:
            yield from ((f"{ATTRIBUTES}.{each['name']}", _told(each)) for each in value or [])
        elif name == QUERY_MODEL and value is not None:
            yield f"{QUERY_MODEL}.vectors", value.get("vectors")
            yield from ((f"{QUERY_MODEL}.{each['name']}", _told(each)) for each in value.get(INPUTS) or [])
        elif name != QUERY_MODEL:
            yield name, value


def _told(named: Mapping[str, Any]) -> str:
    """`int64`, or `int64, max_length 20`: the type of an attribute or an input, and what is set besides."""
    more = [f"{name} {value}" for name, value in sorted(named.items()) if name not in ("name", "type") and value]
    return ", ".join([str(named.get("type", "")), *more])


def _parameters(version: Version) -> dict[str, Any]:
    spec = version.spec
    search = spec.get("search") or {}
    return {
        "model_version": version.model_version,
        "drop": version.build.drop_name,
        "engine": version.engine,
        **{f"engine.{name}": value for name, value in sorted(version.engine_params.items())},
        "engine.partitions": (spec.get("engine") or {}).get("partitions"),
        **{f"search.{name}": value for name, value in sorted(version.search_params.items())},
        "search.recall_target": search.get("recall_target"),
        "search.at": search.get("at"),
    }


def _steps(version: Version) -> dict[str, float]:
    build = version.build
    if build.version_number != version.number:
        return {}  # It was retried since, and its steps are those of another version.
    return {
        step.name: (step.ended_at - step.started_at).total_seconds()
        for step in build.steps.all()
        if step.started_at and step.ended_at
    }


def _difference(change: Change) -> float | None:
    value, to = change["value"], change["to"]
    return None if value is None or to is None else value - to
