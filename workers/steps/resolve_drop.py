"""Finds the drop that the build is of: the one that was named, else the newest complete one."""

from __future__ import annotations

from pathlib import Path

from bundles import sources
from bundles.errors import DropError, SourceError
from catalog.actions import source_at
from querymodel.spec import vocabularies_of
from versions import actions
from versions.models import Build
from versions.states import BUILD_UNFINISHED, DUPLICATE
from workers.context import BuildContext
from workers.demo_drop import deliver_if_demo
from workers.outcomes import Cancel, Done, Outcome
from workers.patience import wait_for_source


def step(ctx: BuildContext) -> Outcome:
    """Raises UriError, SourceError, StepFailed (demo.not_delivered).

    And DropError (drop.not_found, drop.incomplete, drop.bad_manifest, drop.empty, ...).
    """
    source = source_at(ctx.build.service.tenant, ctx.spec["source"]["uri"])
    deliver_if_demo(ctx, source.uri, Path(source.root))
    try:
        # A drop asked for by its name is taken as it lies, complete or not.
        drop = sources.find(
            source,
            name=ctx.build.drop_name,
            files=ctx.spec["source"]["files"],
            vocabularies=vocabularies_of(ctx.spec["schema"]),
            check=ctx.lease.check,
        )
    except SourceError as error:
        waiting = wait_for_source(ctx, error.reason, error.message)
        if waiting is None:
            raise
        return waiting
    except DropError as error:
        raise _named(ctx, error) from error
    told = {
        "count": drop.count,
        "model_version": drop.model_version,
        "files": drop.files,
        "bytes": drop.bytes,
        "skipped": list(drop.skipped),
    }
    twin = actions.drop_resolve(ctx.claim, name=drop.name, fingerprint=drop.fingerprint, drop=told)
    if twin is not None:
        return Cancel(DUPLICATE, " ".join([_told_of(twin, drop.name), *(f"{each}." for each in drop.skipped)]))
    return Done(context={"source": source.to_dict()}, detail="; ".join([drop.name, *drop.skipped]))


def _told_of(twin: Build, drop: str) -> str:
    if twin.state in BUILD_UNFINISHED:
        return f"Build {twin.number} is of drop {drop} under this spec, and has not ended."
    return f"Drop {drop} under this spec is version {twin.version_number} (build {twin.number})."


def _named(ctx: BuildContext, error: DropError) -> DropError:
    """`error` with the drop that it is about in its message; the build shows that drop as its own."""
    name = error.details.get("drop", ctx.build.drop_name)
    actions.drop_blame(ctx.claim, name=name)
    message = error.message if not name or f"`{name}`" in error.message else f"Drop `{name}`: {error.message}"
    return DropError(error.reason, message, error.details)
