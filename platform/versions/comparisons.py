"""Two versions of one service side by side: from their rows, their builds' reports, and what a worker computed.

What a build found beside the version that was live then is used for that pair; any other pair is computed once, on
request (`actions.comparison_ask`), as long as both have their files. Reads only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from catalog.models import Service
from common.errors import FailedPrecondition, InvalidArgument
from versions import changes
from versions.models import Version, VersionComparison
from versions.selectors import live_version, version_get, versions_of
from versions.states import ComparisonState

# What failed is tried again when somebody asks after this time.
AGAIN_SECONDS = 300
DONE, FAILED, ASKED, UNAVAILABLE = ComparisonState.DONE, ComparisonState.FAILED, ComparisonState.ASKED, "UNAVAILABLE"
FINAL = (DONE, FAILED, UNAVAILABLE)
TOO_MANY = "Other comparisons of this team are under way; this one begins when there is room."
NOTHING_TO_ASK = "There is nothing to ask both by: no recorded queries, and no item that both have."
# Names of what is told the other way round when the older version is looked at beside the newer one.
MIRRORED = {"added": "removed", "gone": "new", "mean_score": "to_mean_score", "p99_ms": "to_p99_ms"}


def versions_compared(service: Service, number: int, to: int | None) -> tuple[Version, Version]:
    """The two that are meant. Raises NotFound; InvalidArgument (field `to`) for one and the same."""
    version = version_get(service, number)
    other = version_get(service, to) if to is not None else usual_other(version)
    if other is None:
        message = f"Version {number} is the only one of this service: there is nothing to compare it with."
        raise FailedPrecondition(message, reason="NOTHING_TO_COMPARE")
    if other.number == number:
        raise InvalidArgument("Name another version to compare it with.", field="to")
    return version, other


def usual_other(version: Version) -> Version | None:
    """What a version is compared with when nobody says: what is live, and live itself with what was before it."""
    live = live_version(version.service)
    return live if live is not None and live.number != version.number else previous_of(version)


def previous_of(version: Version) -> Version | None:
    """What was live when it was built, else the newest older one that came as far as its files."""
    older = versions_of(version.service).filter(number__lt=version.number, completed_at__isnull=False)
    beside = int(_stored_items(version).get("live_version") or 0)
    return older.filter(number=beside).first() or older.first()


def comparison_of(newer: Version, older: Version) -> VersionComparison | None:
    return VersionComparison.objects.select_related("version", "other").filter(version=newer, other=older).first()


def comparisons_waiting(asked_before: Any) -> QuerySet[VersionComparison]:
    """Those that nobody is at: asked for before that time, or left by a worker that is gone."""
    asked = Q(state=ComparisonState.ASKED, asked_at__lt=asked_before)
    left = Q(state=ComparisonState.RUNNING, taken_until__lt=Now())
    return VersionComparison.objects.filter(asked | left).order_by("asked_at")


def newer_first(version: Version, other: Version) -> tuple[Version, Version]:
    return (version, other) if version.number > other.number else (other, version)


def is_known(newer: Version, older: Version) -> bool:
    """Whether the newer one's build found all there is to know beside the older one."""
    items, answers = items_beside(newer, older), answers_beside(newer, older)
    # A vector of one model that was asked of another one says nothing, and nobody has noted what was asked.
    is_one_model = newer.model_version == older.model_version
    return is_one_model and items is not None and answers is not None and bool(items["samples"])


def obstacle(newer: Version, older: Version) -> str:
    """Why the files of two versions cannot be compared, in words; empty when they can."""
    id_types = [each.spec["schema"]["id_type"] for each in (newer, older)]
    if id_types[0] != id_types[1]:
        told = f"version {newer.number} has ids of type {id_types[0]}, version {older.number} {id_types[1]}"
        return f"They have no ids in common: {told}."
    return _without_files(newer) or _without_files(older)


def comparison_view(version: Version, other: Version) -> dict[str, Any]:
    """All that is known by now; `final` when nothing more is to come."""
    newer, older = newer_first(version, other)
    row = comparison_of(newer, older)
    answers = _found(row).get("answers") or answers_beside(newer, older)
    state = _state(newer, older, row)
    return {
        "version": version.number,
        "to": other.number,
        "state": state,
        "final": state in FINAL,
        "progress": row.progress if row else None,
        "notes": _notes(newer, older, row, state, answers),
        "error": _error(row, newer, older) if row and state == FAILED else None,
        "figures": changes.figures(version, other),
        "schema": changes.schema_changes(version, other),
        "parameters": changes.parameters(version, other),
        "items": items_between(version, other, row),
        "answers": _with_drift(answers if version == newer else _mirrored(answers)),
        "curves": {"value": changes.curve(version), "to": changes.curve(other)},
        "steps": changes.step_seconds(version, other),
        "completed_at": {"value": version.completed_at, "to": other.completed_at},
    }


def items_between(version: Version, other: Version, row: VersionComparison | None) -> dict[str, Any] | None:
    """Items that `version` has and `other` has not, and so on; None when nobody has counted them."""
    newer, older = newer_first(version, other)
    items = _found(row).get("items") or items_beside(newer, older)
    return items if version == newer else _mirrored(items)


def overlap_between(newer: Version, older: Version, row: VersionComparison | None) -> float | None:
    """The share of answers that both give, 0 to 1; None when nobody has asked both what means the same to both."""
    answers = _found(row).get("answers") or answers_beside(newer, older)
    if not answers:
        return None
    # A vector of one model says nothing to another one.
    means_the_same = newer.model_version == older.model_version or answers["asked"] in ("features", "items")
    return float(answers["overlap"]) if means_the_same else None


def items_beside(newer: Version, older: Version) -> dict[str, Any] | None:
    """What the newer one's build counted, if it was against the older one."""
    stored = _stored_items(newer)
    ids = stored.get("ids")
    if not ids or stored.get("live_version") != older.number:
        return None
    return {
        "added": ids["items"] - ids["shared"],
        "removed": ids["live_items"] - ids["shared"],
        "kept": ids["shared"],
        "samples": stored.get("samples") or {},
        "measured": "by its build",
    }


def answers_beside(newer: Version, older: Version) -> dict[str, Any] | None:
    """What a node found that held both when the newer one was built; of several, where they are least alike."""
    build = newer.build
    compared = (build.report.get("compare") or {}) if build.version_number == newer.number else {}
    good = [each for each in (compared.get("results") or {}).values() if each.get("ok")]
    if compared.get("live") != older.number or not good:
        return None
    found = min(good, key=lambda each: float(each["overlap"]))
    return {
        "measured": "by its build, on replicas of both",
        "asked": "replicas",
        "queries": found.get("queries"),
        "at": newer.spec["search"]["at"],
        "overlap": found["overlap"],
        "mean_score": found["mean_score"],
        "to_mean_score": found["beside_mean_score"],
        "p99_ms": found["p99_ms"],
        "to_p99_ms": found["beside_p99_ms"],
        "gone": None,
        "new": None,
    }


def _found(row: VersionComparison | None) -> dict[str, Any]:
    """What a worker computed, in the shape of what a build stores; empty until it is done."""
    if row is None or row.state != DONE:
        return {}
    items, answers = row.result.get("items"), row.result.get("answers")
    if not answers or not answers["queries"]:
        answers = None
    else:
        told = {name: answers[name] for name in ("asked", "queries", "at", "overlap", "mean_score", "gone", "new")}
        answers = {
            **told,
            "measured": "by exact search",
            "to_mean_score": answers["other_mean_score"],
            "p99_ms": None,
            "to_p99_ms": None,
        }
    return {"items": {**items, "measured": "by their files"} if items else None, "answers": answers}


def _state(newer: Version, older: Version, row: VersionComparison | None) -> str:
    if row is not None:
        return row.state
    if is_known(newer, older):
        return DONE
    return UNAVAILABLE if obstacle(newer, older) else ASKED


def _notes(
    newer: Version, older: Version, row: VersionComparison | None, state: str, answers: Mapping[str, Any] | None
) -> list[str]:
    if row is None:
        return {UNAVAILABLE: [obstacle(newer, older), *_of_two_models(newer, older, answers)], ASKED: [TOO_MANY]}.get(
            state, []
        )
    told = [str(note) for note in ((row.result.get("answers") or {}).get("notes") or [])]
    return told if state != DONE or answers else [*told, NOTHING_TO_ASK]


def _of_two_models(newer: Version, older: Version, answers: Mapping[str, Any] | None) -> list[str]:
    if answers is None or newer.model_version == older.model_version:
        return []
    models = f"{older.model_version or 'unnamed'} -> {newer.model_version or 'unnamed'}"
    return [f"The two are of different models ({models}): the overlap counts only where features were asked by."]


def _error(row: VersionComparison, newer: Version, older: Version) -> dict[str, Any]:
    """`again_at`: when it is tried again if somebody asks; None when it cannot be any more."""
    again_at = row.ended_at + timedelta(seconds=AGAIN_SECONDS) if row.ended_at else None
    can_be = not obstacle(newer, older)
    return {"reason": row.problem_reason, "message": row.problem, "again_at": again_at if can_be else None}


def _with_drift(answers: dict[str, Any] | None) -> dict[str, Any] | None:
    """With the drift of the mean score in percent, None where the scores are of two metrics."""
    if answers is None:
        return None
    ours, other = answers["mean_score"], answers["to_mean_score"]
    drift = None
    if ours is not None and other is not None:
        drift = round(100.0 * (ours - other) / abs(other), 3) if other else (0.0 if not ours else None)
    return {**answers, "score_drift_percent": drift}


def _mirrored(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same as the other version would tell it."""
    if found is None:
        return None
    turned = {**MIRRORED, **{to: name for name, to in MIRRORED.items()}}
    mirrored = {name: found[turned.get(name, name)] for name in found}
    if found.get("samples"):
        mirrored["samples"] = _mirrored(found["samples"])
    return mirrored


def _without_files(version: Version) -> str:
    if version.files_deleted_at is not None:
        when = f"{version.files_deleted_at:%Y-%m-%d %H:%M} UTC"
        return (
            f"The files of version {version.number} were deleted at {when}: its items and answers are gone with them."
        )
    if not version.artifact or version.completed_at is None:
        return f"Version {version.number} has no files (yet): only a version that is complete has items to compare."
    return ""


def _stored_items(version: Version) -> Mapping[str, Any]:
    found: Mapping[str, Any] = version.report.get("items") or {}
    return found
