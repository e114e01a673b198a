"""Where a build goes on after a crash, a retry or a long hold: what was done counts only while its result is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundles import layout
from versions.models import Build
from versions.states import StepState
from versions.steps import first_lost
from workers import query_model


def steps_to_redo(build: Build, names: Sequence[str]) -> list[str]:
    """The DONE steps among `names` that have to run again: the first whose result is lost, and all after it."""
    done = set(build.steps.filter(state=StepState.DONE).values_list("name", flat=True))
    lost = first_lost(build, done, is_there=lambda name: IS_THERE[name](build.context))
    return [name for name in names[names.index(lost) :] if name in done] if lost else []


def _has_import(context: Mapping[str, Any]) -> bool:
    return (Path(context["import"]["dir"]) / layout.VECTORS).is_file()


def _has_index(context: Mapping[str, Any]) -> bool:
    return Path(context["index"]["dir"]).is_dir()


def _has_tuning(context: Mapping[str, Any]) -> bool:
    return (Path(context["tune"]["dir"]) / layout.SAMPLED_ROWS).is_file()


# For each step of versions.steps.KEPT_IN_WORK.
IS_THERE: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "import_items": _has_import,
    "check_items": query_model.is_here,
    "build_index": _has_index,
    "tune_search": _has_tuning,
}
