"""Puts the files of the version together, publishes them under a name of this claim's own, and completes the row."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from bundles import layout
from bundles.artifact import Published, publish
from failpoints import failpoint
from versions import actions
from versions.actions import Completed
from versions.models import Version
from versions.states import VersionState
from workers import query_model
from workers.context import BuildContext
from workers.outcomes import Done, Outcome

# Errors that mean "this cannot be linked from there", not "the disk is in trouble".
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


def step(ctx: BuildContext) -> Outcome:
    """The rename publishes nothing yet: the fenced UPDATE of the row does, and the rest is garbage for the sweeper.

    Raises ArtifactError.
    """
    version = actions.version_reserve(ctx.claim)
    if version.state == VersionState.READY:
        return Done(detail=f"version {version.number}")
    published = _publish(ctx, version)
    failpoint("publish.before_row")
    actions.version_complete(ctx.claim, version=version, completed=_completed(ctx, published))
    size = f"{published.bytes / 1e6:,.1f} MB"
    return Done(report={"artifact": {"bytes": published.bytes}}, detail=f"version {version.number}, {size}")


def _publish(ctx: BuildContext, version: Version) -> Published:
    build = ctx.build
    folder = settings.RECALL_ARTIFACTS / build.service.tenant.name / build.service.name
    # The next owner of the service's name counts from 1 again, beside the files of the one before.
    name = f"s{build.service_id}-v{version.number}-b{build.number}-f{ctx.claim.fence}"
    stage = folder / f".{name}"
    # Left by a run of this very claim that did not come to its end. What has its final name is never taken away here.
    shutil.rmtree(stage, ignore_errors=True)
    for source, place in _files(ctx):
        ctx.lease.check()
        _link(source, stage / place)
        failpoint("publish.within_files")
    return publish(stage, folder / name, _manifest(ctx, version))


def _files(ctx: BuildContext) -> Iterator[tuple[Path, str]]:
    """Every file of the artifact, and its place in it."""
    imported, index, tuned = (Path(ctx.values[name]["dir"]) for name in ("import", "index", "tune"))
    for name in layout.IMPORTED:
        if (imported / name).is_file():
            yield imported / name, name
    # What it was tuned on is what it is warmed up and compared with.
    yield Path(ctx.values["tune"]["queries_file"]), layout.QUERIES
    yield from _model_files(ctx, imported)
    for name in (layout.KNOWN_QUERIES, layout.KNOWN_ROWS, layout.SAMPLED_ROWS):
        yield tuned / name, name
    for path in sorted(index.rglob("*")):
        if path.is_file():
            yield path, f"{layout.INDEX_FOLDER}/{path.relative_to(index)}"


def _model_files(ctx: BuildContext, imported: Path) -> Iterator[tuple[Path, str]]:
    """The query model with its vocabularies, and the recorded features that it has vectors for."""
    model = query_model.found(ctx.values)
    if not model:
        return
    for path in sorted((imported / layout.MODEL_FOLDER).rglob("*")):
        if path.is_file():
            yield path, str(path.relative_to(imported))
    for name in (layout.FEATURES, layout.KNOWN_FEATURES):
        if model["queries"]:
            yield Path(model["dir"]) / name, name


def _link(source: Path, target: Path) -> None:
    """A second name where the file system can, so that a version costs its size once; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)


def _manifest(ctx: BuildContext, version: Version) -> dict[str, Any]:
    imported, index, tuned = (ctx.values[name] for name in ("import", "index", "tune"))
    schema = ctx.spec["schema"]
    return {
        "tenant": ctx.build.service.tenant.name,
        "service": ctx.build.service.name,
        "version": version.number,
        "created_at": timezone.now().isoformat(),
        "schema": schema,
        "items": imported["items"],
        "searchable_items": imported["searchable_items"],
        "dimension": schema["dimension"],
        "metric": schema["metric"],
        "engine": {
            "name": index["engine"],
            "params": index["params"],
            "partitions": ctx.spec["engine"]["partitions"],
        },
        "search_params": tuned["search_params"],
        "model_version": ctx.build.drop["model_version"],
        "queries_source": tuned["queries_source"],
        **query_model.served(ctx.values),
    }


def _completed(ctx: BuildContext, published: Published) -> Completed:
    imported, index, tuned = (ctx.values[name] for name in ("import", "index", "tune"))
    return Completed(
        artifact=str(published.path),
        manifest_sha256=published.manifest_sha256,
        items=imported["items"],
        searchable_items=imported["searchable_items"],
        bytes=published.bytes,
        engine=index["engine"],
        engine_params=index["params"],
        search_params=tuned["search_params"],
        model_version=ctx.build.drop["model_version"],
        recall=tuned["recall"],
        report=ctx.build.report,
    )
