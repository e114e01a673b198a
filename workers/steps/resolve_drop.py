"""Finds the drop that the build is of: the one that was named, else the newest complete one."""

from __future__ import annotations

from pathlib import Path

from bundles import uris
from bundles.drop import newest_complete, open_drop
from catalog.actions import source_root
from versions import actions
from versions.states import DUPLICATE
from workers.context import BuildContext
from workers.outcomes import Cancel, Done, Outcome


def step(ctx: BuildContext) -> Outcome:
    """Raises UriError, DropError (drop.not_found, drop.incomplete, drop.bad_manifest, drop.empty)."""
    source = uris.resolve(ctx.spec["source"]["uri"], source_root(ctx.build.service.tenant))
    name, skipped = _chosen(ctx, source)
    # A drop asked for by its name is taken as it lies, complete or not.
    named = bool(ctx.build.drop_name)
    drop = open_drop(source, name, files=ctx.spec["source"]["files"], allow_unmarked=named)
    told = {
        "count": drop.count,
        "model_version": drop.model_version,
        "files": len(drop.item_files),
        "bytes": drop.bytes,
        "skipped": list(skipped),
    }
    twin = actions.drop_resolve(ctx.claim, name=drop.name, fingerprint=drop.fingerprint, drop=told)
    if twin is not None:
        told_of = (
            f"version {twin.version_number} (build {twin.number})" if twin.version_number else f"build {twin.number}"
        )
        message = f"Drop {drop.name} under this spec is {told_of}."
        return Cancel(DUPLICATE, " ".join([message, *(f"{each}." for each in skipped)]))
    return Done(context={"source": str(source)}, detail="; ".join([drop.name, *skipped]))


def _chosen(ctx: BuildContext, source: Path) -> tuple[str, tuple[str, ...]]:
    """The name of the drop, and which newer ones were passed over."""
    if ctx.build.drop_name:
        return ctx.build.drop_name, ()
    newest = newest_complete(source)
    return newest.name, newest.skipped
