"""Where indexes lie at servers, as the folders of versions and of builds under way tell."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from django.db.models import F, QuerySet

from bundles import layout
from engines import registry
from versions import actions
from versions.models import Build, BuildStep, Version
from versions.states import BuildState, StepState
from workers.folders import of_fence

# What of a build says nothing of where its index is, and may be long.
UNREAD = ("spec", "report", "drop", "overrides")
# Builds that one look for places reads.
BUILDS_MAX = 1_000


def index_of(version: Version) -> Path:
    """The index of a published version."""
    return Path(version.artifact) / layout.INDEX_FOLDER


def index_being_made(build: Build) -> Path:
    """The index that the worker of a build is at; there may be no such folder (yet)."""
    return Path(build.work_dir) / of_fence(layout.INDEX_FOLDER, build.fence)


def indexes_under_way(builds: QuerySet[Build]) -> list[Path]:
    """The indexes of builds that have not ended, those at servers: being made, made, or published."""
    begun = list(builds.exclude(work_dir="", version_number__isnull=True).defer(*UNREAD)[:BUILDS_MAX])
    reserved = Version.objects.filter(build__in=begun, number=F("build__version_number")).exclude(artifact="")
    published = {version.build_id: version for version in reserved.only("build_id", "artifact")}
    folders: list[Path] = []
    for build in begun:
        made = build.context.get("index", {}).get("dir")
        folders += [index_being_made(build)] if build.work_dir else []
        folders += [Path(made)] if made else []
        folders += [index_of(published[build.pk])] if build.pk in published else []
    return [folder for folder in folders if registry.places_of(folder)]


def builds_indexing() -> QuerySet[BuildStep]:
    """The steps of builds whose index is being made just now, wherever that is."""
    return BuildStep.objects.filter(
        name=actions.INDEXING,
        state=StepState.RUNNING,
        started_at__isnull=False,
        build__state=BuildState.RUNNING,
        build__cancel_requested_at__isnull=True,
    )


def places_of(versions: Iterable[Version]) -> frozenset[str]:
    """The servers at which any of these versions lies."""
    found = (registry.places_of(index_of(version)) for version in versions if version.artifact)
    return frozenset().union(*found)
