"""The files in which replicas keep samples of live queries: which ones belong to a service, and which have to go.

What is in them is read by `children.live_queries`, in a build's child.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings

from bundles.samples import SAMPLES_SECONDS_MAX, SUFFIX
from versions.models import Replica
from workers.context import BuildContext

log = logging.getLogger(__name__)

# Of one service that a build reads, and of all services that one query of the database is about.
FILES_MAX = 64
ROWS_MAX = 500
REPLICA_NAME = re.compile(r"r(\d{1,18})")
# A replica renames what it writes at once; what is left after so long belongs to one that died.
UNFINISHED_SECONDS_MAX = 3_600
SWITCHED_OFF = "No live queries are sampled here (RECALL_QUERY_SAMPLES is 0)."


def order(ctx: BuildContext) -> dict[str, Any]:
    """What `children.live_queries` is to read for a build: its own service's files, and where its version is at home.

    The rows say which replicas are the service's, so that one of the same name that was deleted is another one.
    """
    service, schema = ctx.service, ctx.spec["schema"]
    folder = settings.RECALL_SAMPLES / service.tenant.name / service.name
    files = sorted(_of_replicas(folder.glob(f"r*{SUFFIX}")), key=lambda each: _written_at(each[1]))
    named = Replica.objects.filter(version__service=service, pk__in=[pk for pk, _ in files])
    own = set(named.values_list("pk", flat=True))
    return {
        "files": [str(path) for pk, path in files if pk in own][-FILES_MAX:],
        "tenant": service.tenant.name,
        "service": service.name,
        "space": {
            "dimension": schema["dimension"],
            "metric": schema["metric"],
            "normalized": schema["metric"] == "cosine" or bool(schema.get("normalize")),
            "model_version": ctx.build.drop["model_version"],
        },
    }


def delete_old() -> None:
    """Samples that are too old, those of deleted services, and those of replicas that no row knows."""
    unfinished = time.time() - UNFINISHED_SECONDS_MAX
    for path in settings.RECALL_SAMPLES.glob("*/*/*.new"):
        if _written_at(path) < unfinished:
            _delete(path)
    oldest = time.time() - SAMPLES_SECONDS_MAX
    paths = sorted(settings.RECALL_SAMPLES.glob(f"*/*/*{SUFFIX}"))
    for start in range(0, len(paths), ROWS_MAX):
        some = paths[start : start + ROWS_MAX]
        wanted = _wanted(some)
        for path in some:
            if path not in wanted or _written_at(path) < oldest:
                _delete(path)


def _wanted(paths: Iterable[Path]) -> set[Path]:
    """Those of replicas of services that there are."""
    named = _of_replicas(paths)
    known = Replica.objects.filter(pk__in=[pk for pk, _ in named], version__service__deleted_at__isnull=True)
    own = set(known.values_list("pk", "version__service__tenant__name", "version__service__name"))
    return {path for pk, path in named if (pk, path.parent.parent.name, path.parent.name) in own}


def _of_replicas(paths: Iterable[Path]) -> list[tuple[int, Path]]:
    """Those with a replica's name, and the key of its row."""
    named = ((REPLICA_NAME.fullmatch(path.stem), path) for path in paths)
    return [(int(match[1]), path) for match, path in named if match]


def _written_at(path: Path) -> float:
    """Unix time; 0 for what is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _delete(path: Path) -> None:
    log.info("Deleting %s", path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s could not be deleted: %s", path, error)  # noqa: TRY400 - the path says where, no trace is needed
        return
    # The folder of a service goes with its last sample; the next one makes it again.
    with contextlib.suppress(OSError):
        path.parent.rmdir()
