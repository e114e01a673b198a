"""Deletes files that no row wants any more, and nothing outside RECALL_ARTIFACTS and RECALL_WORK."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from versions import actions
from versions.models import Build, Version
from versions.states import BUILD_FINAL, PLACED, BuildState, VersionState

log = logging.getLogger(__name__)

ROWS_MAX = 50
# A failed build keeps its working folder for so long, so that a retry need not begin anew.
FAILED_WORK_SECONDS = 3_600
# A folder that matches no row may belong to a worker that is about to write its row.
ORPHAN_SECONDS = 6 * 3_600
ORPHANS_MAX = 50

# The first part is the service's key; folders from before it was there are without.
ARTIFACT_NAME = re.compile(r"^\.?(s\d+-)?v\d+-b\d+-f\d+$")
WORK_NAME = re.compile(r"^(s\d+-)?build-\d+-f\d+$")


def delete_files() -> None:
    """Artifacts of retired and failed versions, working folders of ended builds."""
    unwanted = Version.objects.filter(
        state__in=[VersionState.RETIRED, VersionState.FAILED], files_deleted_at__isnull=True
    )
    for version in unwanted.exclude(replicas__state__in=PLACED).order_by("pk")[:ROWS_MAX]:
        has_none = not version.artifact or _is_anothers(version)
        if has_none or _delete(Path(version.artifact), settings.RECALL_ARTIFACTS):
            actions.version_files_deleted(version=version)
    kept = Q(state=BuildState.FAILED, ended_at__gt=Now() - timedelta(seconds=FAILED_WORK_SECONDS))
    for build in (
        Build.objects.filter(state__in=BUILD_FINAL).exclude(work_dir="").exclude(kept).order_by("pk")[:ROWS_MAX]
    ):
        if _is_worked_in(build) or _delete(Path(build.work_dir), settings.RECALL_WORK):
            actions.work_dir_deleted(build=build)


def delete_orphans() -> None:
    """What workers that lost their fence left: folders with our names that no row knows and nobody has touched."""
    artifacts = _old(settings.RECALL_ARTIFACTS, ARTIFACT_NAME)
    known = set(Version.objects.exclude(artifact="").values_list("artifact", flat=True))
    for path in _first(path for path in artifacts if str(path) not in known):
        _delete(path, settings.RECALL_ARTIFACTS)
    folders = _old(settings.RECALL_WORK, WORK_NAME)
    used = set(Build.objects.exclude(work_dir="").values_list("work_dir", flat=True))
    for path in _first(path for path in folders if str(path) not in used):
        _delete(path, settings.RECALL_WORK)


def _is_anothers(version: Version) -> bool:
    """Whether a version that is wanted lies there by now.

    Names without the service's key came again when a service was deleted and its name taken anew.
    """
    others = Version.objects.filter(artifact=version.artifact).exclude(pk=version.pk)
    return others.exclude(state__in=[VersionState.RETIRED, VersionState.FAILED]).exists()


def _is_worked_in(build: Build) -> bool:
    """The same of a working folder."""
    others = Build.objects.filter(work_dir=build.work_dir).exclude(pk=build.pk)
    return others.exclude(state__in=BUILD_FINAL).exists()


def _delete(path: Path, root: Path) -> bool:
    """Whether the row may forget the folder: it is gone, or none of ours. What the disk refuses is tried again.

    None of ours is what does not lie two folders below `root`, whatever a row says.
    """
    if path.is_symlink() or path.resolve().parent.parent.parent != root.resolve():
        log.error("%s does not lie in %s and is not deleted.", path, root)
        return True
    log.info("Deleting %s", path)
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass  # Another sweeper is at it, or was.
    except OSError as error:
        log.error("%s could not be deleted: %s", path, error)  # noqa: TRY400 - the path says where, no trace is needed
    return not path.exists()


def _old(root: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """Folders `root/tenant/service/name` that have not changed for ORPHAN_SECONDS."""
    limit = time.time() - ORPHAN_SECONDS
    for path in sorted(root.glob("*/*/*")):
        if name.match(path.name) and path.is_dir() and not path.is_symlink() and path.stat().st_mtime < limit:
            yield path


def _first(paths: Iterator[Path]) -> list[Path]:
    return [path for path, _ in zip(paths, range(ORPHANS_MAX), strict=False)]
