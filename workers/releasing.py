"""Has engines give back the memory at their servers of versions that are loaded nowhere any more.

A server keeps an index in its memory until somebody says otherwise, whoever has opened it. What is opened again is
loaded again: so is what somebody opens, or searches, at the very moment of its release. When a version was last used
that was released is noted in a file of this machine, so that nobody is asked twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from django.db.models import F, Max, QuerySet

from engines import registry
from versions.models import Build, Version
from versions.states import BuildState, ReplicaState
from workers import notes, outside

log = logging.getLogger(__name__)

CHILD = "workers.children.releasing"
FILE = "released.json"
# Versions that one tick has released.
VERSIONS_MAX = 100
# In these a build has its index opened, or will before long; one that is held will when it goes on.
AT_WORK = (BuildState.PENDING, BuildState.RUNNING)


def release_idle() -> None:
    """The tick: what fails is asked for again."""
    told = notes.read(FILE)
    versions = list(_idle())
    idle = {version.artifact: _last_use(version) for version in versions}
    going = [Path(artifact) for artifact in idle if told.get(artifact) != idle[artifact]]
    going = list(islice((path for path in going if path.is_dir()), VERSIONS_MAX))
    left = outside.held_back(going, partial(_needed, but=versions), child=CHILD)
    for path, each in left.items():
        log.warning("%s keeps its memory at its engine's server for now: %s", path, each.why)
    released = {str(path): idle[str(path)] for path in going if path not in left}
    kept = {artifact: use for artifact, use in told.items() if artifact in idle}
    if kept | released != told:
        notes.write(FILE, kept | released)


def _idle() -> QuerySet[Version]:
    """Versions that no node has loaded or shall load, that are not live, and whose build is not at work."""
    there = _with_files().filter(engine__in=registry.remote_names())
    idle = there.exclude(number=F("service__live_version")).exclude(build__state__in=AT_WORK)
    # Whoever withdraws has not left yet.
    loaded = [state for state in ReplicaState if state != ReplicaState.GONE]
    idle = idle.exclude(replicas__state__in=loaded)
    return idle.annotate(unloaded_at=Max("replicas__changed_at")).select_related("build").order_by("pk")


def _last_use(version: Version) -> str:
    """Another one after every time that it may have been loaded: by its build's worker, or by a node."""
    unloaded_at = getattr(version, "unloaded_at", None)
    return f"{version.build.fence} {unloaded_at.isoformat() if unloaded_at else 'never'}"


def _needed(*, but: Sequence[Version]) -> list[Path]:
    """The folders of all other versions, and of builds at work: their indexes may be the same as those of idle ones."""
    artifacts = _with_files().exclude(pk__in=[version.pk for version in but]).values_list("artifact", flat=True)
    folders = Build.objects.filter(state__in=AT_WORK).exclude(work_dir="").values_list("work_dir", flat=True)
    return [*map(Path, artifacts), *map(Path, folders)]


def _with_files() -> QuerySet[Version]:
    return Version.objects.filter(files_deleted_at__isnull=True).exclude(artifact="")
