"""Finds the drop that the build is of: the one that was named, else the newest complete one."""

from __future__ import annotations

from bundles import sources
from bundles.errors import SourceError
from catalog.actions import source_at
from querymodel.spec import vocabularies_of
from versions import actions
from versions.states import DUPLICATE
from workers.context import BuildContext
from workers.outcomes import Cancel, Done, Outcome
from workers.patience import wait_for_source


def step(ctx: BuildContext) -> Outcome:
    """Raises UriError, SourceError, DropError (drop.not_found, drop.incomplete, drop.bad_manifest, drop.empty, ...)."""
    source = source_at(ctx.build.service.tenant, ctx.spec["source"]["uri"])
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
    told = {
        "count": drop.count,
        "model_version": drop.model_version,
        "files": drop.files,
        "bytes": drop.bytes,
        "skipped": list(drop.skipped),
    }
    twin = actions.drop_resolve(ctx.claim, name=drop.name, fingerprint=drop.fingerprint, drop=told)
    if twin is not None:
        told_of = (
            f"version {twin.version_number} (build {twin.number})" if twin.version_number else f"build {twin.number}"
        )
        message = f"Drop {drop.name} under this spec is {told_of}."
        return Cancel(DUPLICATE, " ".join([message, *(f"{each}." for each in drop.skipped)]))
    return Done(context={"source": source.to_dict()}, detail="; ".join([drop.name, *drop.skipped]))
