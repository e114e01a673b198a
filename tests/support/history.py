"""Builds, versions and nodes for tests, written through the same actions that workers use."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from django.db.models.functions import Now

from catalog.models import Service
from tests.factories import TESTER
from versions import actions, selectors
from versions.actions import Claim, Completed
from versions.models import Build, Node, Replica, Version
from versions.seen import NodeSeen, ReplicaSeen
from versions.states import PLACED, ReplicaState

STEPS = ("resolve_drop", "build_index", "activate")


def asked(service: Service, **wanted: Any) -> Build:
    return actions.build_request(actor=TESTER, service=service, **wanted)


def claimed(build: Build, owner: str = "worker-1") -> Claim:
    """A claim that must succeed, with its steps prepared."""
    claim = actions.build_claim(build.pk, owner=owner)
    assert claim is not None, f"{build} cannot be claimed: {Build.objects.get(pk=build.pk).state}"
    actions.steps_prepare(claim, STEPS)
    return claim


def resolved(claim: Claim, name: str, **told: Any) -> Build | None:
    fingerprint = hashlib.sha256(name.encode()).hexdigest()
    return actions.drop_resolve(claim, name=name, fingerprint=fingerprint, drop={"count": 100, **told})


def held(build: Build, step: str = "activate", reason: str = "guard.min_recall") -> Build:
    """`build`, claimed and held before `step`."""
    claim = claimed(build)
    actions.step_start(claim, step)
    evidence = [{"name": "min_recall", "value": 0.9, "limit": 0.95, "what": "recall"}]
    actions.build_hold(claim, step, reason=reason, message="Too low.", evidence=evidence, report={}, context={})
    return Build.objects.get(pk=build.pk)


def expired(build: Build) -> None:
    """The worker of `build` has not been heard of since long."""
    Build.objects.filter(pk=build.pk).update(lease_until="2020-01-01T00:00:00+00:00")


def completed(claim: Claim, *, items: int = 100, **values: Any) -> Version:
    version = actions.version_reserve(claim)
    made: dict[str, Any] = {
        "artifact": f"/artifacts/v{version.number}",
        "manifest_sha256": "ab" * 32,
        "items": items,
        "searchable_items": items,
        "bytes": 1000 * items,
        "engine": "flat",
        "engine_params": {},
        "search_params": {},
        "recall": 1.0,
    }
    return actions.version_complete(claim, version=version, completed=Completed(**{**made, **values}))


def made_version(service: Service, *, items: int = 100, loaded: bool = True, **values: Any) -> Version:
    """A READY version of a drop of its own, made by a build that succeeded; loaded on the node `local`."""
    claim, version = unfinished_version(service, items=items, loaded=loaded, **values)
    actions.build_succeed(claim)
    return selectors.version_get(service, version.number)


def unfinished_version(
    service: Service, *, items: int = 100, loaded: bool = True, **values: Any
) -> tuple[Claim, Version]:
    """A READY version whose build is running still, and the claim on that build."""
    build = asked(service, force=True)
    claim = claimed(build)
    resolved(claim, f"drop-{build.number:04}")
    version = completed(claim, items=items, **values)
    if loaded:
        place(claim, version)
        report_all_ready()
    return claim, version


def activated(version: Version, reason: str = "") -> Version:
    actions.version_activate(actor=TESTER, service=version.service, number=version.number, reason=reason)
    return Version.objects.get(pk=version.pk)


def place(claim: Claim, version: Version, node: str = "local") -> Replica:
    heard_of(node)
    actions.replicas_place(claim, version=version, nodes=[Node.objects.get(name=node)])
    return Replica.objects.get(version=version, node__name=node)


def heard_of(node: str = "local") -> Node:
    """A node that reports nothing loaded."""
    row, _ = Node.objects.get_or_create(name=node)
    Node.objects.filter(pk=row.pk).update(seen_at=Now(), memory_available_bytes=8 * 2**30)
    return row


def seen(replica: Replica, state: str = ReplicaState.READY, **said: Any) -> ReplicaSeen:
    address = f"unix:/run/r{replica.pk}.sock" if state == ReplicaState.READY else ""
    return ReplicaSeen(replica_id=replica.pk, state=state, **{"address": address, "items": 100, **said})


def report(
    node: str, *replicas: ReplicaSeen, placements: tuple[int, int] | None = None, leaving: Collection[Replica] = ()
) -> None:
    """The node has carried out its newest placements and says this of its replicas."""
    generation = Node.objects.get(name=node).placements_generation
    actions.node_report(
        NodeSeen(
            name=node,
            cpu_count=2,
            memory_total_bytes=16 * 2**30,
            memory_available_bytes=8 * 2**30,
            placements=placements or (selectors.platform_epoch(), generation),
            replicas=tuple(replicas),
            leaving=frozenset(replica.pk for replica in leaving),
        )
    )


def report_all_ready(node: str = "local") -> None:
    """The node has loaded everything that is placed on it and has stopped the rest."""
    placed = Replica.objects.filter(node__name=node, state__in=PLACED)
    report(node, *(seen(replica) for replica in placed))


def refreshed(service: Service) -> Service:
    return Service.objects.select_related("tenant").get(pk=service.pk)
