"""Where a build has to fit, and how much room is there: now, and once other work has given back what it holds.

What is loaded again later (after a hold, from cold standby, in place of a lost replica) has to fit by the same rule.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from versions.models import Node, Replica, Version
from versions.selectors import Admission, fresh_nodes, live_items, loaded_replicas, undeleted_bytes
from versions.sizes import Plan, Sizes, held_bytes, replica_bytes
from versions.states import ReplicaState, VersionState
from workers import machine
from workers.context import BuildContext
from workers.outcomes import Evidence, Hold

# Of a machine's memory, what builds and replicas leave to the rest; and of a disk.
MEMORY_SPARE_SHARE = 0.05
DISK_SPARE_BYTES = 256 * 10**6

MEMORY, DISK, QUOTA_ITEMS, QUOTA_MEMORY = "admit.memory", "admit.disk", "quota.items_max", "quota.memory_bytes_max"
REPLICA_MEMORY = "replica_memory_bytes"
ASK_FOR_QUOTA = "Ask a platform administrator for more, or delete what is not needed; then override to look again."


@dataclass(frozen=True)
class Room:
    """One limit: what is needed beside what is free now, and what will be when others have ended."""

    reason: str
    name: str
    what: str
    need: int
    free: int
    free_later: int
    sentence: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """The figures, for programs."""
        return {"name": self.name, "what": self.what, "need": self.need, "free": self.free}


def look(ctx: BuildContext, plan: Plan, sizes: Sizes, before: list[Admission]) -> list[Room]:
    """Every room, the tenant's own limits first. `before`: who stands before this build in the line."""
    replicas = loaded_replicas()
    found = [
        quota_items(ctx, plan.items, before),
        _quota_memory(ctx, sizes, before, replicas),
        _cap(sizes),
        _build_memory(sizes, before),
        *_disks(sizes, before),
    ]
    nodes = _replicas(ctx, sizes, before, replicas)
    return [*found, nodes] if nodes else found


def quota_items(ctx: BuildContext, items: int, before: Iterable[Admission] = ()) -> Room:
    """The items of the tenant's services, each with its live version, this one with its new version instead."""
    service = ctx.service
    limit = service.tenant.quota.items_max
    others = live_items(service.tenant)
    for each in before:
        if each.build.service.tenant_id == service.tenant_id:
            others[each.build.service_id] = max(others.get(each.build.service_id, 0), each.need["items"])
    elsewhere = sum(count for key, count in others.items() if key != service.pk)
    sentence = (
        f"{items:,} items, and {elsewhere:,} in other services of {service.tenant.name}; the tenant's quota allows "
        f"{limit:,} together (items_max)."
    )
    free = max(0, limit - elsewhere)
    return Room(QUOTA_ITEMS, "items_max", "items of the tenant", items, free, free, sentence, ASK_FOR_QUOTA)


def shortage(short: list[Room], *, report: Mapping[str, Any], context: Mapping[str, Any] | None = None) -> Hold:
    """Says of each room that is too small the number and the remedy."""
    message = " ".join(f"{room.sentence} {room.remedy}" for room in short)
    evidence = tuple(Evidence(room.name, room.need, room.free, room.what, room.sentence) for room in short)
    return Hold(short[0].reason, message, evidence, report=report, context=context or {})


def disk_need(sizes: Sizes) -> int:
    """What is still to be written; what is published is linked where it can be, and then costs its size once."""
    is_linked = machine.is_one_disk(settings.RECALL_WORK, settings.RECALL_ARTIFACTS)
    return sizes.index_files + (0 if is_linked else sizes.artifact)


def size_text(size: float) -> str:
    """As people read it."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def _quota_memory(ctx: BuildContext, sizes: Sizes, before: list[Admission], replicas: list[Replica]) -> Room:
    """Everything of the tenant that is loaded, with the live and the previous version, and the new one beside it."""
    tenant = ctx.service.tenant
    own = [each for each in replicas if each.version.service.tenant_id == tenant.pk]
    coming = [each for each in before if each.build.service.tenant_id == tenant.pk and not each.placed]
    held = sum(map(held_bytes, own)) + sum(each.need["replica_bytes"] * each.need["replicas"] for each in coming)
    leaving = sum(held_bytes(each) for each in own if _is_leaving(each))
    need, limit = sizes.replica * ctx.spec["replicas"]["count"], tenant.quota.memory_bytes_max
    sentence = (
        f"The new version needs {size_text(need)} of memory in {ctx.spec['replicas']['count']} replicas beside the "
        f"{size_text(held)} that {tenant.name} has loaded; the tenant's quota is {size_text(limit)} (memory_bytes_max)."
    )
    free, later = max(0, limit - held), max(0, limit - held + leaving)
    return Room(QUOTA_MEMORY, "memory_bytes_max", "memory of the tenant", need, free, later, sentence, ASK_FOR_QUOTA)


def _cap(sizes: Sizes) -> Room:
    cap = settings.BUILD_MEMORY_BYTES_MAX
    sentence = f"The build needs {size_text(sizes.build)} of memory; a build may have {size_text(cap)}."
    remedy = "Raise RECALL_BUILD_MEMORY_BYTES_MAX, or choose smaller engine parameters or fewer items."
    return Room(MEMORY, "build_memory_bytes_max", "memory of the build", sizes.build, cap, cap, sentence, remedy)


def _build_memory(sizes: Sizes, before: list[Admission]) -> Room:
    """On the machine that builds. What other builds there were promised and do not hold yet is not free."""
    seen = machine.memory()
    here = [each for each in before if each.need["machine"] == socket.gethostname() and not each.built]
    held = {each.number: machine.held_by_children(each.need["pid"]) for each in here}
    promised = sum(max(0, each.need["build_bytes"] - held[each.number]) for each in here)
    usable = seen.available - int(MEMORY_SPARE_SHARE * seen.total)
    free, later = max(0, usable - promised), max(0, usable + sum(held.values()))
    sentence = (
        f"The build needs {size_text(sizes.build)} of memory on {socket.gethostname()}, where {size_text(free)} are "
        "free for it."
    )
    remedy = "Free memory there, build on a larger machine, or choose smaller engine parameters; then override."
    return Room(MEMORY, "build_memory_bytes", "memory where it is built", sizes.build, free, later, sentence, remedy)


def _disks(sizes: Sizes, before: list[Admission]) -> list[Room]:
    work, artifacts = settings.RECALL_WORK, settings.RECALL_ARTIFACTS
    promised = sum(each.need["disk_bytes"] for each in before if not each.built)
    deletable = undeleted_bytes()
    if machine.is_one_disk(work, artifacts):
        return [_disk("work", "RECALL_WORK and RECALL_ARTIFACTS", work, sizes.index_files, promised, deletable)]
    return [
        _disk("work", "RECALL_WORK", work, sizes.index_files, promised, 0),
        _disk("artifact", "RECALL_ARTIFACTS", artifacts, sizes.artifact, promised, deletable),
    ]


def _disk(name: str, setting: str, path: Path, need: int, promised: int, deletable: int) -> Room:
    usable = machine.disk_free_bytes(path) - DISK_SPARE_BYTES
    free = max(0, usable - promised)
    sentence = f"The version needs {size_text(need)} of disk under {setting}, where {size_text(free)} are free for it."
    remedy = "Free disk there, or keep fewer versions (versions.keep); then override."
    return Room(DISK, f"{name}_disk_bytes", f"disk of {setting}", need, free, usable + deletable, sentence, remedy)


@dataclass(frozen=True)
class Fit:
    """Nodes on which a replica fits, as many as were asked for; else the room on the next one, which is too small."""

    nodes: list[Node]
    short: Room | None


class NodeRooms:
    """The room for one more replica on each node that was heard lately, as it is now.

    Live and previous are in what a node already uses, or are counted as far as they are still to be loaded there. What
    `before`, builds in the line, are going to load is not free on any node.
    """

    def __init__(self, before: Iterable[Admission] = (), replicas: Iterable[Replica] | None = None) -> None:
        before = list(before)
        loaded = list(loaded_replicas() if replicas is None else replicas)
        self._coming: int = sum(each.need["replica_bytes"] for each in before if not each.placed)
        self._held_here = sum(machine.held_by_children(each.need["pid"]) for each in before if not each.built)
        self._nodes = list(fresh_nodes())
        self._usable: dict[int, int] = {}
        self._leaving: dict[int, int] = {}
        for node in self._nodes:
            there = [each for each in loaded if each.node_id == node.pk]
            usable = node.memory_available_bytes - int(MEMORY_SPARE_SHARE * node.memory_total_bytes)
            self._usable[node.pk] = usable - sum(held_bytes(each) for each in there if not each.rss_bytes)
            self._leaving[node.pk] = sum(each.rss_bytes for each in there if _is_leaving(each))

    def fit(self, version: Version, count: int, *, without: Collection[str], remedy: str) -> Fit:
        """At most `count` nodes but those `without` (names), the most room first; what is taken is not free any more.

        When fewer fit than there are nodes for, the answer says by how much: `short`.
        """
        need = replica_bytes(version)
        asked = f"A replica of version {version.number} needs {size_text(need)} of memory"
        candidates = [node for node in self._most_first() if node.name not in without][: max(0, count)]
        fitting = [node for node in candidates if need <= self._free(node)]
        for node in fitting:
            self._usable[node.pk] -= need
        if len(fitting) == len(candidates):
            return Fit(fitting, None)
        return Fit(fitting, self._room(candidates[len(fitting)], need, asked, remedy))

    def last_of(self, count: int, need: int, asked: str, remedy: str) -> Room | None:
        """The room on the last of `count` nodes, the most room first; None while no node has reported."""
        nodes = self._most_first()[:count]
        return self._room(nodes[-1], need, asked, remedy) if nodes else None

    def _most_first(self) -> list[Node]:
        return sorted(self._nodes, key=lambda node: (-self._free(node), -self._free_later(node), node.name))

    def _free(self, node: Node) -> int:
        return max(0, self._usable[node.pk] - self._coming)

    def _free_later(self, node: Node) -> int:
        return max(0, self._usable[node.pk] + self._leaving[node.pk] + self._held_here)

    def _room(self, node: Node, need: int, asked: str, remedy: str) -> Room:
        free, later = self._free(node), self._free_later(node)
        sentence = f"{asked}; on {node.name} {size_text(free)} are free for it."
        return Room(MEMORY, REPLICA_MEMORY, f"memory on {node.name}", need, free, later, sentence, remedy)


def _replicas(ctx: BuildContext, sizes: Sizes, before: list[Admission], replicas: list[Replica]) -> Room | None:
    beside = "beside the live and the previous one"
    asked = f"A replica of the new version needs {size_text(sizes.replica)} of memory {beside}"
    remedy = "Add a node or memory, keep fewer versions (versions.keep), or choose smaller engine parameters; "
    remedy += "then override."
    return NodeRooms(before, replicas).last_of(ctx.spec["replicas"]["count"], sizes.replica, asked, remedy)


def _is_leaving(replica: Replica) -> bool:
    """Its memory comes back without anybody's doing."""
    return replica.state == ReplicaState.WITHDRAWN or replica.version.state == VersionState.RETIRING
