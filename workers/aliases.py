"""Has engines keep a name of each service's live index at their servers, for people with other tools.

A courtesy: a switch does not wait for it, and nothing of ours asks by such a name. What was told last is noted in a
file of this machine. Where that is lost, or another machine has told meanwhile, the same is told once more, which does
no harm: it is always what the rows say now.
"""

from __future__ import annotations

import logging
from pathlib import Path

from django.db.models import F

from bundles import layout
from engines import registry
from versions.models import Version
from workers import doorbell, notes, outside
from workers.outcomes import StepFailed
from workers.sweep import unless_redis_is_away

log = logging.getLogger(__name__)

CHILD = "workers.children.aliasing"
FILE = "aliases.json"
# Services that one tick tells of.
SERVICES_MAX = 100

# The artifact that a service, "tenant/name", answers from.
Live = dict[str, str]


@unless_redis_is_away
def keep_aliases() -> None:
    """The tick: tells of services that answer from something else than was told last; what fails is told again."""
    told, live = notes.read(FILE), _live()
    changed = (name for name in told.keys() | live.keys() if told.get(name) != live.get(name))
    # What its disk does not show must not look like nothing.
    ready = [name for name in changed if name not in live or Path(live[name]).is_dir()]
    # While an instance is away nobody's name is told to all of them: that of the first must not keep others waiting.
    telling = doorbell.in_turn("aliases", dict.fromkeys(ready, 1), most=SERVICES_MAX)
    if not telling:
        return
    try:
        left = _tell({name: live.get(name) for name in telling})
    except StepFailed as error:
        left = dict.fromkeys(telling, error.message)
    for name, why in left.items():
        log.warning("The name of %s at its engine's servers does not stand yet: %s", name, why)
    for name in telling:
        if name in left:
            continue
        if name in live:
            told[name] = live[name]
        else:
            told.pop(name)
    notes.write(FILE, told)


def _live() -> Live:
    """Of services whose live version's engine keeps such names."""
    versions = Version.objects.filter(service__deleted_at__isnull=True, number=F("service__live_version"))
    rows = versions.exclude(artifact="").values_list("service__tenant__name", "service__name", "engine", "artifact")
    return {f"{tenant}/{name}": artifact for tenant, name, engine, artifact in rows if registry.keeps_aliases(engine)}


def _tell(live: dict[str, str | None]) -> dict[str, str]:
    """Those that do not stand yet, and why. Raises StepFailed, and then nobody knows of any."""
    told = [
        [*name.split("/"), None if artifact is None else str(Path(artifact) / layout.INDEX_FOLDER)]
        for name, artifact in live.items()
    ]
    done = outside.asked(CHILD, {"live": told})
    return {f"{tenant}/{name}": why for tenant, name, why in done["left"]}
