"""Where a build goes on after a crash, a retry or a long hold: what was done counts only while its result is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundles import layout
from versions.models import Build, Version
from versions.selectors import version_of
from versions.states import PLACED, StepState, VersionState
from workers import query_model


def steps_to_redo(build: Build, names: Sequence[str]) -> list[str]:
    """The DONE steps among `names` that have to run again: the first whose result is lost, and all after it."""
    done = set(build.steps.filter(state=StepState.DONE).values_list("name", flat=True))
    lost = _first_lost(build, done)
    return [name for name in names[names.index(lost) :] if name in done] if lost else []


def _first_lost(build: Build, done: set[str]) -> str:
    if "activate" in done:
        return ""
    version = version_of(build)
    if "publish_artifact" in done and version is not None and version.state == VersionState.READY:
        # From here on nothing of the working folder is needed.
        return "place_replicas" if "place_replicas" in done and not _is_placed(version) else ""
    lost = (name for name, is_there in _FILES.items() if name in done and not is_there(build.context))
    first = next(lost, "publish_artifact" if "publish_artifact" in done else "")
    # Whoever builds now may be another machine, and others may have been admitted meanwhile.
    is_to_build = first == "build_index" or (not first and "build_index" not in done)
    return "admit" if is_to_build and "admit" in done else first


def _is_placed(version: Version) -> bool:
    return version.replicas.filter(state__in=PLACED).exists()


def _has_import(context: Mapping[str, Any]) -> bool:
    return (Path(context["import"]["dir"]) / layout.VECTORS).is_file()


def _has_index(context: Mapping[str, Any]) -> bool:
    return Path(context["index"]["dir"]).is_dir()


def _has_tuning(context: Mapping[str, Any]) -> bool:
    return (Path(context["tune"]["dir"]) / layout.SAMPLED_ROWS).is_file()


_FILES = {
    "import_items": _has_import,
    "check_items": query_model.is_here,
    "build_index": _has_index,
    "tune_search": _has_tuning,
}
