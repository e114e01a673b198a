"""Rows as the JSON shapes of the contract; REST, the CLI and the console all show these. Times are datetimes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from catalog.models import Service
from versions.checked import APPROVAL_REQUIRED, HELD_BY_SERVICE, is_checked
from versions.groups import GROUP_INCOMPLETE, MOVE, group_of, other_members_of
from versions.models import Activation, Build, BuildLine, BuildStep, Node, Replica, SourceWatch, Version
from versions.outlook import release_outlook
from versions.routable import is_in_route
from versions.states import BUILD_UNFINISHED, DUPLICATE, BuildState, ReplicaState, StepState, VersionState
from versions.steps import WORDS, goes_on_from

NEXT_STEPS = {
    BuildState.HELD: "Override it with a reason, or deliver a newer drop, which cancels it.",
    BuildState.CANCELLED: "Ask for a new build when you want one.",
}
# Parts of a build's report that are found after its version is complete.
MEASURED_ON_REPLICAS = ("evidence", "warm", "compare", "replicas", "overridden", "warnings")
# A machine or a quota that is too small is not passed by, however good the reason.
NO_ROOM = ("admit.", "quota.")
NEXT_STEP_WITHOUT_ROOM = "Make room as it says, then override it, which looks again; or deliver a smaller drop."
# A retry keeps the spec of its build, so that it mends nothing of the user's.
NEXT_STEP_OF_USER = "Correct the drop or change the spec (recall service apply -f FILE), then ask for a new build."
NEXT_STEP_OF_CHANGED_SPEC = "The service's spec has changed since: ask for a new build."
NEXT_STEP_OF_DUPLICATE = "Nothing is to be done; `force` builds it again all the same."
NEXT_STEP_OF_UNFINISHED_TWIN = "Follow build {number}."
NEXT_STEP_OF_APPROVAL = (
    "Look at the evidence, then activate it (recall activate {service} {version}) or override it with a reason."
)
NEXT_STEP_OF_GROUP = (
    "Mend what stopped the other build, and this one goes on by itself; or override it with a reason, and it switches "
    "without."
)
NEXT_STEP_OF_PLATFORM = "Retry the build; when it fails again, tell the platform's administrator its reason."


def looks_again(reason: str) -> bool:
    """Whether an override of what is held for this reason only has it looked at again."""
    return reason.startswith(NO_ROOM)


def build_view(build: Build) -> dict[str, Any]:
    """A build with its steps; `error` also tells of a hold or a cancellation."""
    steps = list(build.steps.all())
    return {
        "number": build.number,
        "state": build.state,
        "step": _current_step(build, steps),
        "steps": [step_view(step) for step in steps],
        "drop": {"name": build.drop_name, "fingerprint": build.drop_fingerprint, **build.drop},
        "version": build.version_number,
        "error": _error(build),
        "report": build.report,
        "overrides": build.overrides,
        "force": build.force,
        "cancel_requested": build.cancel_requested_at is not None,
        "moves_with": build.context.get(MOVE),
        "requested_by": build.requested_by,
        "requested_at": build.requested_at,
        "started_at": build.started_at,
        "ended_at": build.ended_at,
    }


def build_detail_view(build: Build) -> dict[str, Any]:
    """A build with its log, and where a retry of it would go on."""
    retry_from = goes_on_from(build) if build.state == BuildState.FAILED else ""
    return {**build_view(build), "retry_from": retry_from, "log": [line_view(line) for line in build.lines.all()]}


def line_view(line: BuildLine) -> dict[str, Any]:
    return {"at": line.at, "step": line.step, "level": line.level, "text": line.text}


def step_view(step: BuildStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "does": WORDS.get(step.name, ""),
        "state": step.state,
        "progress": step.progress,
        "rate": step.rate,
        "eta_seconds": step.eta_seconds,
        "detail": step.detail,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
    }


def version_view(version: Version) -> dict[str, Any]:
    """A version; `live`: its service points to it now; `activatable`: a person may make it live.

    One that is not loaded is loaded first.
    """
    live = version.service.live_version == version.number
    return {
        "number": version.number,
        "state": version.state,
        "why": _why(version),
        "retires_at": _retires_at(version),
        "live": live,
        "cold": version.cold_at is not None,
        "activatable": not live and version.state == VersionState.READY and is_checked(version),
        "items": version.items,
        "searchable_items": version.searchable_items,
        "bytes": version.bytes,
        "engine": {"name": version.engine, "params": version.engine_params, "reason": engine_reason(version)},
        "places": places(version),
        "search_params": version.search_params,
        "recall": version.recall,
        "p99_ms": version.p99_ms,
        "model_version": version.model_version,
        "build": version.build.number,
        "schema": version.spec.get("schema", {}),
        "created_at": version.created_at,
        "created_by": version.created_by,
        "completed_at": version.completed_at,
        "activated_at": version.activated_at,
        "bad": {"at": version.bad_at, "reason": version.bad_reason} if version.bad_at else None,
        "report": _report(version),
    }


def service_view(service: Service) -> dict[str, Any]:
    """A service: its spec as the contract writes it, and what has become of it."""
    last_build = service.builds.order_by("-number").first()
    return {
        "name": service.name,
        **service.spec,
        "tenant": service.tenant.name,
        "spec_generation": service.spec_generation,
        "live_version": service.live_version,
        "live_generation": service.live_generation,
        "live": _live(service),
        "held": _held(service),
        "last_build": {"number": last_build.number, "state": last_build.state} if last_build else None,
        "watch": _watch(service),
        "moves_with": [member.name for member in other_members_of(service)] if group_of(service) else [],
        "created_at": service.created_at,
        "created_by": service.created_by,
    }


def _watch(service: Service) -> dict[str, Any] | None:
    """What is known of the source: None until it was looked at for the first time."""
    watch = SourceWatch.objects.of(service.tenant).filter(service=service, looked_at__isnull=False).first()
    if watch is None:
        return None
    return {
        "drop": watch.drop_name,
        "seen_at": watch.drop_seen_at,
        "looked_at": watch.looked_at,
        "problem": watch.problem,
        "due_at": watch.due_at,
        "late_since": watch.late_at,
    }


def replica_view(replica: Replica) -> dict[str, Any]:
    """A replica, and what audits found; `skewed`: its process says that it serves another version than was placed."""
    return {
        "id": f"r{replica.pk}",
        "version": replica.version.number,
        "node": replica.node.name,
        "state": replica.state,
        "address": replica.address,
        "items": replica.items,
        "rss_bytes": replica.rss_bytes,
        "respawns": replica.respawns,
        "error": replica.error,
        "verdict": replica.verdict,
        "agreement": replica.agreement,
        "p99_ms": replica.p99_ms,
        "served_version": replica.served_version,
        "skewed": replica.served_version not in (None, replica.version.number),
        "routed": is_routed(replica),
        "sick": {"reason": replica.sick_reason, "since": replica.sick_since} if replica.sick_reason else None,
        "cures": replica.cures,
        "audited_at": replica.audited_at,
        "changed_at": replica.changed_at,
    }


def is_routed(replica: Replica) -> bool:
    """Whether gateways may ask it: it is loaded or comes back, it is not withheld, and its version is in the route."""
    there = replica.state in (ReplicaState.READY, ReplicaState.LOADING) and replica.address != ""
    return there and not replica.withheld and is_in_route(replica)


def activation_view(activation: Activation) -> dict[str, Any]:
    """A switch; `changed` is false on the answer of a call that found nothing to change.

    `loading` says what happens first when the version is not loaded; its state is LOADING then.
    """
    return {
        "kind": activation.kind,
        "from_version": activation.from_version,
        "to_version": activation.to_version,
        "live_generation": activation.live_generation,
        "state": activation.state,
        "laggards": activation.laggards,
        "actor": activation.actor,
        "reason": activation.reason,
        "at": activation.at,
        "completed_at": activation.completed_at,
        "changed": activation.changed,
        "loading": activation.loading,
    }


def node_view(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "cpu_count": node.cpu_count,
        "memory_total_bytes": node.memory_total_bytes,
        "memory_available_bytes": node.memory_available_bytes,
        "seen_at": node.seen_at,
    }


def _report(version: Version) -> dict[str, Any]:
    """A version is complete before its replicas are measured; what was found then is in its build's report."""
    build = version.build
    names = MEASURED_ON_REPLICAS if build.version_number == version.number else ()
    return {**version.report, **{name: build.report[name] for name in names if name in build.report}}


def engine_reason(version: Version) -> str:
    """Why the platform chose the version's engine; empty where the spec names it."""
    return str(version.report.get("index", {}).get("reason", ""))


def places(version: Version) -> list[str]:
    """The servers at which the version's index is, as its build found; none of an index that is its files."""
    return list(version.report.get("index", {}).get("places", ()))


def _why(version: Version) -> str:
    """What has become of a version that cannot serve at once (any more), and because of what; else empty."""
    if version.cold_at is not None and version.state == VersionState.READY:
        is_policy = version.service.spec["versions"]["standby"] == "cold"
        unloaded = "is kept unloaded (versions.standby: cold)" if is_policy else "was on no node any more"
        return f"It {unloaded}; it is loaded and checked before it answers."
    if version.state == VersionState.RETIRING:
        return "It left the routes; it is unloaded when no call can be under way, and its files stay for a while."
    if version.state != VersionState.FAILED:
        return ""
    build = version.build
    if build.version_number != version.number:
        return f"Build {build.number} was retried and went on with version {build.version_number}."
    return build.error_message or f"Build {build.number} did not finish it."


def _retires_at(version: Version) -> datetime | None:
    """When a RETIRING version is RETIRED and its files go, at the earliest: a gateway that lags behind keeps it."""
    if version.state != VersionState.RETIRING or version.retiring_at is None:
        return None
    return version.retiring_at + timedelta(seconds=settings.RETIRE_FILES_SECONDS)


def _current_step(build: Build, steps: list[BuildStep]) -> str:
    """The step that the build is in or stopped at; empty before the first and after the last."""
    if build.state not in BUILD_UNFINISHED and build.state != BuildState.FAILED:
        return ""
    stopped = (step.name for step in steps if step.state in (StepState.RUNNING, StepState.HELD, StepState.FAILED))
    return next(stopped, next((step.name for step in steps if step.state == StepState.PENDING), ""))


def _error(build: Build) -> dict[str, Any] | None:
    """Cause, effect and next step."""
    # Of a build that runs it says why it is about to end.
    if not build.error_reason or build.state == BuildState.RUNNING:
        return None
    return {
        "reason": build.error_reason,
        "owner": build.error_owner,
        "message": build.error_message,
        "effect": _effect(build.service),
        "next_step": _next_step(build),
    }


def _next_step(build: Build) -> str:
    if build.state == BuildState.HELD and build.error_reason == HELD_BY_SERVICE:
        name = build.service.name
        return f"Release the service (recall service release {name}) and it goes on, or override it with a reason."
    if build.state == BuildState.HELD and build.error_reason == APPROVAL_REQUIRED:
        return NEXT_STEP_OF_APPROVAL.format(service=build.service.name, version=build.version_number)
    if build.state == BuildState.HELD and build.error_reason == GROUP_INCOMPLETE:
        return NEXT_STEP_OF_GROUP
    if build.state == BuildState.HELD and build.error_reason.startswith(NO_ROOM):
        return NEXT_STEP_WITHOUT_ROOM
    if build.error_reason == DUPLICATE:
        return _next_step_of_duplicate(build.report.get("same_as", {}))
    if build.state in NEXT_STEPS:
        return NEXT_STEPS[BuildState(build.state)]
    if build.error_owner != "user":
        return NEXT_STEP_OF_PLATFORM
    changed = build.service.spec_generation > build.spec_generation
    return NEXT_STEP_OF_CHANGED_SPEC if changed else NEXT_STEP_OF_USER


def _next_step_of_duplicate(same_as: dict[str, Any]) -> str:
    """By what its twin was when they met: whoever builds again meanwhile builds the same thing beside it."""
    if same_as.get("state") in BUILD_UNFINISHED:
        return NEXT_STEP_OF_UNFINISHED_TWIN.format(number=same_as["build"])
    return NEXT_STEP_OF_DUPLICATE


def _effect(service: Service) -> str:
    if service.live_version is None:
        return "Nothing is serving yet."
    return f"Version {service.live_version} is still serving."


def _held(service: Service) -> dict[str, Any] | None:
    if service.held_at is None:
        return None
    return {"at": service.held_at, "reason": service.held_reason, "on_release": release_outlook(service)}


def _live(service: Service) -> dict[str, Any] | None:
    if service.live_version is None:
        return None
    live = service.versions.filter(number=service.live_version, state=VersionState.READY).first()
    if live is None:
        return None
    return {"version": live.number, "items": live.items, "recall": live.recall, "p99_ms": live.p99_ms}
