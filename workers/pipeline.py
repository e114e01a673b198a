"""A build, from drop to live: the steps, and the loop that runs them.

The row is the truth. Whoever claims it runs the steps that are not done; every write names the claim's fence, so that
of two workers one goes on and the other stops. A step computes, may run twice, and writes no rows but by
versions.actions. This module is not in charge of what a step does, nor of when a build is rung for.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import NamedTuple

from django.db import Error, connection

from bundles.durable import sync_work
from bundles.errors import BundleError
from engines.errors import EngineError
from failpoints import failpoint
from versions import actions
from versions.actions import Claim, FenceLost
from versions.models import Build
from versions.selectors import in_turn_for
from versions.states import StepState
from versions.steps import KEPT_IN_WORK
from workers import overrides
from workers.context import BuildContext
from workers.lease import Lease
from workers.outcomes import Cancel, CancelRequested, Done, Hold, Outcome, StepFailed, Wait
from workers.restart import steps_to_redo
from workers.steps import (
    activate,
    admit,
    build_index,
    check_counts,
    check_index,
    check_items,
    check_replicas,
    import_items,
    place_replicas,
    publish_artifact,
    resolve_drop,
    retire,
    tune_search,
    warm_replicas,
)

log = logging.getLogger(__name__)

# So many workers may die with one build before it is taken for the cause.
CRASHES_MAX = 5


class Step(NamedTuple):
    name: str
    run: Callable[[BuildContext], Outcome]


STEPS: tuple[Step, ...] = (
    Step("resolve_drop", resolve_drop.step),
    Step("check_counts", check_counts.step),
    Step("import_items", import_items.step),
    Step("check_items", check_items.step),
    Step("admit", admit.step),
    Step("build_index", build_index.step),
    Step("tune_search", tune_search.step),
    Step("check_index", check_index.step),
    Step("publish_artifact", publish_artifact.step),
    Step("place_replicas", place_replicas.step),
    Step("warm_replicas", warm_replicas.step),
    Step("check_replicas", check_replicas.step),
    Step("activate", activate.step),
    Step("retire", retire.step),
)


def run(build_id: int) -> None:
    """Runs build `build_id` as far as it goes now; does nothing when there is nothing to claim.

    One that nobody has begun lets another tenant's go first that has had less; the sweeper rings for it again.
    """
    try:
        build_id = in_turn_for(build_id)
        claim = actions.build_claim(build_id, owner=f"{socket.gethostname()}:{os.getpid()}")
        if claim is None:
            return
        failpoint("build.claimed")
        with Lease(claim) as lease:
            _run_claimed(claim, lease)
    except FenceLost:
        log.info("Build %s: another worker got there first.", build_id)
    except Error:
        # The lease runs out, and the sweeper rings again. A broken connection is not for the next build to meet.
        log.exception("Build %s: the database is in trouble.", build_id)
        connection.close()


def _run_claimed(claim: Claim, lease: Lease) -> None:
    step = ""
    try:
        for step in _prepare(claim):
            if not _run_step(claim, lease, step):
                return
        failpoint("build.before_success")
        actions.build_succeed(claim)
    except (CancelRequested, actions.CancelAsked):
        build = Build.objects.get(pk=claim.build_id)
        reason = build.error_reason or "build.cancelled"
        actions.build_stop(claim, reason=reason, message=build.error_message or "Cancelled.")
    except (StepFailed, BundleError, EngineError) as error:
        log.warning("Build %s failed in %s: %s %s", claim.build_id, step, error.reason, error.message)
        actions.build_fail(claim, reason=error.reason, owner=error.owner, message=error.message)
    except (FenceLost, Error):
        raise
    except Exception:
        log.exception("Build %s: %s failed in a way nobody foresaw.", claim.build_id, step)
        message = "Something of the platform's own went wrong; its log tells what."
        actions.build_fail(claim, reason="platform.internal", owner="platform", message=message)


def _prepare(claim: Claim) -> list[str]:
    """The names of the steps that are to run, in order."""
    if claim.crashes > CRASHES_MAX:
        raise StepFailed("platform.worker_died", f"{claim.crashes} workers died with this build.")
    names = [step.name for step in STEPS]
    actions.steps_prepare(claim, names)
    build = Build.objects.select_related("service__tenant").get(pk=claim.build_id)
    actions.steps_redo(claim, steps_to_redo(build, names))
    done = set(build.steps.filter(state=StepState.DONE).values_list("name", flat=True))
    return [name for name in names if name not in done]


def _run_step(claim: Claim, lease: Lease, name: str) -> bool:
    """Runs one step and records what it says; True when the build goes on."""
    failpoint(f"step.{name}.before")
    lease.check()
    row = actions.step_start(claim, name)
    build = Build.objects.select_related("service__tenant").get(pk=claim.build_id)
    ctx = BuildContext(
        claim=claim, build=build, step=name, started_at=row.started_at or row.build.requested_at, lease=lease
    )
    outcome = dict(STEPS)[name](ctx)
    if name in KEPT_IN_WORK and isinstance(outcome, Done):
        sync_work(ctx.work_dir)
    failpoint(f"step.{name}.after")
    log.info("Build %s (%s): %s is %s.", claim.build_id, build, name, type(outcome).__name__)
    match outcome:
        case Done(report, context, detail):
            actions.step_done(claim, name, report=report, context=context, detail=detail)
        case Wait(seconds, detail, context, parked):
            actions.build_wait(claim, name, seconds=seconds, detail=detail, context=context, parked=parked)
        case Hold(reason, message, evidence, report, context):
            found = [each.to_dict() for each in evidence]
            told = overrides.told(outcome)
            actions.build_hold(
                claim, name, reason=reason, message=message, evidence=found, told=told, report=report, context=context
            )
        case Cancel(reason, message):
            actions.build_stop(claim, reason=reason, message=message)
    return isinstance(outcome, Done)
