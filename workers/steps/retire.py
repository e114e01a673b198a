"""Takes versions beyond those that stay out of the routes; the sweeper unloads and deletes them later."""

from __future__ import annotations

from common.errors import FailedPrecondition, StateConflict
from versions import actions
from versions.selectors import retirable
from workers.context import BuildContext
from workers.outcomes import Done, Outcome


def step(ctx: BuildContext) -> Outcome:
    service = ctx.service
    retired = []
    for version in retirable(service, keep=service.spec["versions"]["keep"]):
        ctx.lease.check()
        try:
            actions.version_retire(version=version)
        except (FailedPrecondition, StateConflict):
            continue  # It went live, or on its way out, meanwhile.
        retired.append(version.number)
    detail = "version " + ", ".join(map(str, retired)) if retired else "nothing to retire"
    return Done(report={"retired": retired}, detail=detail)
