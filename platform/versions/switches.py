"""What a switch from one version to another changes, from what is stored: nothing is computed for it.

How well both are is told with it, as audits have found them. For the confirmations of activate and roll back, which a
person reads before they press.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Q

from versions import changes
from versions.comparisons import items_between, newer_first, overlap_between
from versions.models import Version, VersionComparison
from versions.selectors import needing_a_load
from versions.standing import Condition, conditions_of, is_worse
from versions.states import ComparisonState
from versions.views import places

# Of the answers that two versions share: below this a person is told that they are unlike.
UNLIKE_BELOW = 0.5


def switches_from(live: Version | None, targets: Iterable[Version]) -> dict[int, dict[str, Any]]:
    """The number of each target -> what a switch to it changes."""
    rows, goals = _comparisons_of(live) if live is not None else {}, list(targets)
    found, unloaded = conditions_of([*goals, *([live] if live is not None else [])]), needing_a_load(goals)
    here = found[live.pk] if live is not None else None
    there = {goal.number: None if goal.number in unloaded else found[goal.pk] for goal in goals}
    return {goal.number: {**_switch(live, goal, rows), **_health(there[goal.number], here)} for goal in goals}


def _switch(live: Version | None, target: Version, rows: Mapping[tuple[int, int], VersionComparison]) -> dict[str, Any]:
    """`items` are counted by ids and `overlap` is of answers, None where nobody has found them; `difference` is of the
    numbers of items.
    """
    items = overlap = None
    if live is not None:
        newer, older = newer_first(target, live)
        row = rows.get((newer.pk, older.pk))
        items, overlap = items_between(target, live, row), overlap_between(newer, older, row)
    return {
        "from": _told(live) if live is not None else None,
        "to": _told(target),
        "items": items,
        "overlap": overlap,
        "is_unlike": overlap is not None and overlap < UNLIKE_BELOW,
        "difference": target.items - live.items if live is not None else None,
        "is_other_model": live is not None and live.model_version != target.model_version,
        "schema": changes.schema_changes(live, target) if live is not None else [],
    }


def _health(there: Condition | None, here: Condition | None) -> dict[str, Any]:
    """How both stand, None of what is loaded and checked first, and where nothing is live.

    `is_worse`: callers would hear worse then, which is refused unless it is wanted `anyway`.
    """
    return {"health": {"here": here, "there": there, "is_worse": there is not None and is_worse(there, here)}}


def _told(version: Version) -> dict[str, Any]:
    return {
        "number": version.number,
        "items": version.items,
        "recall": version.recall,
        "p99_ms": version.p99_ms,
        "model_version": version.model_version,
        "drop": version.build.drop_name,
        "places": places(version),
        "completed_at": version.completed_at,
    }


def _comparisons_of(live: Version) -> dict[tuple[int, int], VersionComparison]:
    """What workers computed of `live` and any other, by the keys of both."""
    done = VersionComparison.objects.filter(Q(version=live) | Q(other=live), state=ComparisonState.DONE)
    return {(row.version_id, row.other_id): row for row in done}
