"""Deletes files that no row wants any more, and nothing outside RECALL_ARTIFACTS and RECALL_WORK.

What an index is made of outside its folder goes before the folder that names it; where that cannot be, the folder stays
and the next tick tries again.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from catalog.models import Service
from engines import registry
from versions import actions
from versions.models import Build, Version
from versions.states import BUILD_FINAL, PLACED, BuildState, VersionState
from workers import notes, outside
from workers.folders import fence_of_index
from workers.outside import Left

log = logging.getLogger(__name__)

# Rows of each kind, and folders, that one tick looks at; more than it deletes, so that those that have to stay for now
# keep no others waiting.
LOOKED_AT_MAX = 1_000
DELETED_MAX = 100
# A failed build keeps its working folder for so long, so that a retry need not begin anew.
FAILED_WORK_SECONDS = 3_600
# A folder that matches no row may belong to a worker that is about to write its row.
ORPHAN_SECONDS = 6 * 3_600
# A worker that has lost its build may be about to write the collection whose name it has just written.
HALF_MADE_SECONDS = 60
# An errand that was not done may say more of this machine than of a server; so many in a row are worth an alert.
UNHEARD_IN_A_ROW = 4
UNHEARD_FILE = "unheard.json"

# The first part is the service's key; folders from before it was there are without.
ARTIFACT_NAME = re.compile(r"^\.?(s\d+-)?v\d+-b\d+-f\d+$")
WORK_NAME = re.compile(r"^(s\d+-)?build-\d+-f\d+$")


class Leaving(NamedTuple):
    """A folder that a row wants no more, the row's name for people, and what the row says once the folder is gone."""

    path: Path
    root: Path
    service: Service
    name: str
    gone: Callable[[], None]


def delete_files() -> None:
    """Artifacts of retired and failed versions, working folders of ended builds, and indexes at servers that were begun
    and that no worker goes on with."""
    leaving = [*_versions_leaving(), *_builds_leaving(), *_indexes_leaving()]
    ours = [each.path for each in leaving if _is_ours(each.path, each.root)]
    held_back = outside.held_back(ours, partial(_wanted, but=set(ours)))
    _tell([each for each in leaving if each.path in held_back], held_back)
    for each in islice((each for each in leaving if each.path not in held_back), DELETED_MAX):
        if _delete(each.path, each.root):
            each.gone()


def delete_orphans() -> None:
    """What workers that lost their fence left: folders with our names that no row knows and nobody has touched."""
    known = set(_wanted(but=()))
    artifacts = _old(settings.RECALL_ARTIFACTS, ARTIFACT_NAME)
    folders = _old(settings.RECALL_WORK, WORK_NAME)
    orphans = [(path, settings.RECALL_ARTIFACTS) for path in artifacts if path not in known]
    orphans += [(path, settings.RECALL_WORK) for path in folders if path not in known]
    orphans = orphans[:LOOKED_AT_MAX]
    held_back = outside.held_back([path for path, _ in orphans], lambda: known)
    for path, left in held_back.items():
        log.warning("%s, which no row knows, has to stay for now: %s", path, left.why)
    for path, root in [orphan for orphan in orphans if orphan[0] not in held_back][:DELETED_MAX]:
        _delete(path, root)


def _versions_leaving() -> Iterator[Leaving]:
    unwanted = Version.objects.filter(
        state__in=[VersionState.RETIRED, VersionState.FAILED], files_deleted_at__isnull=True
    ).exclude(replicas__state__in=PLACED)
    for version in unwanted.select_related("service__tenant").order_by("pk")[:LOOKED_AT_MAX]:
        gone = partial(actions.version_files_deleted, version=version)
        if not version.artifact or _is_anothers(version):
            gone()
            continue
        name = f"version {version.number}"
        yield Leaving(Path(version.artifact), settings.RECALL_ARTIFACTS, version.service, name, gone)


def _builds_leaving() -> Iterator[Leaving]:
    ended = Build.objects.filter(state__in=BUILD_FINAL).exclude(work_dir="").exclude(_may_be_retried())
    for build in ended.select_related("service__tenant").order_by("pk")[:LOOKED_AT_MAX]:
        gone = partial(actions.work_dir_deleted, build=build)
        if _is_worked_in(build):
            gone()
            continue
        yield Leaving(Path(build.work_dir), settings.RECALL_WORK, build.service, f"build {build.number}", gone)


def _indexes_leaving() -> Iterator[Leaving]:
    """Half-made ones of builds whose folders stay. A server would go on with them beside those that are wanted, and a
    retry begins a new one. Where an index is its files, they wait for the whole folder."""
    staying = Build.objects.filter(~Q(state__in=BUILD_FINAL) | _may_be_retried()).exclude(work_dir="")
    for build in staying.select_related("service__tenant").order_by("pk")[:LOOKED_AT_MAX]:
        if _is_worked_in(build):
            continue
        for index in filter(registry.is_more_than_files, _half_made(build)):
            root = settings.RECALL_WORK / build.service.tenant.name
            yield Leaving(index, root, build.service, f"build {build.number}, {index.name}", _nothing_to_say)


def _half_made(build: Build) -> list[Path]:
    """Indexes of workers before the one that has the build, or had it when it ended. Those of later ones, which may
    have begun since the row was read, have higher fences."""
    done = build.context.get("index", {}).get("dir")
    last = build.fence if build.state in BUILD_FINAL else build.fence - 1
    begun = [path for path in Path(build.work_dir).glob("*") if (fence_of_index(path) or last + 1) <= last]
    return [path for path in begun if str(path) != done and _age_seconds(path) > HALF_MADE_SECONDS]


def _may_be_retried() -> Q:
    return Q(state=BuildState.FAILED, ended_at__gt=Now() - timedelta(seconds=FAILED_WORK_SECONDS))


def _nothing_to_say() -> None:
    """No row knows of such an index."""


def _wanted(*, but: Collection[Path]) -> list[Path]:
    """The folders of all versions and builds that have one, whatever has become of them, `but` those that go now."""
    artifacts = Version.objects.filter(files_deleted_at__isnull=True).exclude(artifact="")
    folders = Build.objects.exclude(work_dir="")
    named = [*artifacts.values_list("artifact", flat=True), *folders.values_list("work_dir", flat=True)]
    return [path for path in map(Path, named) if path not in but]


def _tell(staying: list[Leaving], left: dict[Path, Left]) -> None:
    """An alert for each service of which something has to stay; over when nothing has. A deleted one has no alerts.

    Of an errand that was not done, for whatever reason, only the log tells at first.
    """
    in_a_row = _unheard_in_a_row(any(left[each.path].unheard for each in staying))
    kept = {each.service.pk for each in staying if each.service.deleted_at is None}
    told: dict[Service, dict[str, str]] = {}
    for each in staying:
        why, unheard = left[each.path]
        log.warning("%s has to stay for now: %s", each.path, why)
        if each.service.pk in kept and not (unheard and in_a_row < UNHEARD_IN_A_ROW):
            told.setdefault(each.service, {})[each.name] = f"{why} So {in_a_row} times in a row." if unheard else why
    for service, reasons in told.items():
        actions.left_behind_alert(service=service, left=reasons)
    actions.left_behind_alerts_end(but=kept)


def _unheard_in_a_row(unheard: bool) -> int:
    """How many ticks of this machine in a row had an errand that was not done, this one included."""
    tries = int(notes.read(UNHEARD_FILE).get("tries", 0))
    now = tries + 1 if unheard else 0
    if now != tries:
        notes.write(UNHEARD_FILE, {"tries": str(now)})
    return now


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
    """Whether the row may forget the folder: it is gone, or none of ours. What the disk refuses is tried again."""
    if not _is_ours(path, root):
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


def _is_ours(path: Path, root: Path) -> bool:
    """None of ours is what does not lie two folders below `root`, whatever a row says."""
    return not path.is_symlink() and path.resolve().parent.parent.parent == root.resolve()


def _old(root: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """Folders `root/tenant/service/name` that have not changed for ORPHAN_SECONDS."""
    for path in sorted(root.glob("*/*/*")):
        if name.match(path.name) and path.is_dir() and not path.is_symlink() and _age_seconds(path) > ORPHAN_SECONDS:
            yield path


def _age_seconds(path: Path) -> float:
    """Since something was last made or renamed in the folder."""
    return time.time() - path.stat().st_mtime
