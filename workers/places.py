"""Where indexes lie at servers, as the folders of versions and of builds under way tell."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bundles import layout
from engines import registry
from versions.models import Build, Version
from versions.selectors import version_of
from workers.folders import of_fence


def index_of(version: Version) -> Path:
    """The index of a published version."""
    return Path(version.artifact) / layout.INDEX_FOLDER


def index_being_made(build: Build) -> Path:
    """The index that the worker of a build is at; there may be no such folder (yet)."""
    return Path(build.work_dir) / of_fence(layout.INDEX_FOLDER, build.fence)


def indexes_under_way(builds: Iterable[Build]) -> list[Path]:
    """The indexes of builds that have not ended, those at servers: being made, made, or published."""
    folders: list[Path] = []
    for build in builds:
        made = build.context.get("index", {}).get("dir")
        published = version_of(build)
        folders += [index_being_made(build)] if build.work_dir else []
        folders += [Path(made)] if made else []
        folders += [index_of(published)] if published is not None and published.artifact else []
    return [folder for folder in folders if registry.places_of(folder)]


def places_of(versions: Iterable[Version]) -> frozenset[str]:
    """The servers at which any of these versions lies."""
    found = (registry.places_of(index_of(version)) for version in versions if version.artifact)
    return frozenset().union(*found)
