"""Where a build has to fit, and how much room is there: now, and once other work has given back what it holds."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from versions.models import Replica
from versions.selectors import Admission, fresh_nodes, live_items, loaded_replicas, undeleted_bytes
from versions.states import ReplicaState, VersionState
from workers import machine
from workers.context import BuildContext
from workers.outcomes import Evidence, Hold
from workers.sizes import Plan, Sizes, memory_of

# Of a machine's memory, what builds and replicas leave to the rest; and of a disk.
MEMORY_SPARE_SHARE = 0.05
DISK_SPARE_BYTES = 256 * 10**6

MEMORY, DISK, QUOTA_ITEMS, QUOTA_MEMORY = "admit.memory", "admit.disk", "quota.items_max", "quota.memory_bytes_max"
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
    nodes = _nodes(ctx, sizes, before, replicas)
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


def shortage(short: list[Room], *, report: dict[str, Any]) -> Hold:
    """Says of each room that is too small the number and the remedy."""
    message = " ".join(f"{room.sentence} {room.remedy}" for room in short)
    evidence = tuple(Evidence(room.name, room.need, room.free, room.what, room.sentence) for room in short)
    return Hold(short[0].reason, message, evidence, report=report)


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
    held = sum(map(_held, own)) + sum(each.need["replica_bytes"] * each.need["replicas"] for each in coming)
    leaving = sum(_held(each) for each in own if _is_leaving(each))
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


def _nodes(ctx: BuildContext, sizes: Sizes, before: list[Admission], replicas: list[Replica]) -> Room | None:
    """The room on the last of as many nodes as there shall be replicas; None while no node has reported.

    Live and previous are in what a node already uses, or are counted as far as they are still to be loaded there.
    """
    coming = sum(each.need["replica_bytes"] for each in before if not each.placed)
    held_here = sum(machine.held_by_children(each.need["pid"]) for each in before if not each.built)
    rooms = []
    for node in fresh_nodes():
        there = [each for each in replicas if each.node_id == node.pk]
        usable = node.memory_available_bytes - int(MEMORY_SPARE_SHARE * node.memory_total_bytes)
        usable -= sum(_held(each) for each in there if not each.rss_bytes)
        later = usable + sum(each.rss_bytes for each in there if _is_leaving(each)) + held_here
        rooms.append((max(0, usable - coming), max(0, later), node.name))
    if not rooms:
        return None
    rooms.sort(reverse=True)
    free, later, name = rooms[min(len(rooms), ctx.spec["replicas"]["count"]) - 1]
    sentence = (
        f"A replica of the new version needs {size_text(sizes.replica)} of memory beside the live and the previous "
        f"one; on {name} {size_text(free)} are free for it."
    )
    remedy = "Add a node or memory, keep fewer versions (versions.keep), or choose smaller engine parameters; "
    remedy += "then override."
    return Room(MEMORY, "replica_memory_bytes", f"memory on {name}", sizes.replica, free, later, sentence, remedy)


def _held(replica: Replica) -> int:
    """What it holds, or is going to hold once it is loaded."""
    if replica.rss_bytes or replica.state == ReplicaState.WITHDRAWN:
        return replica.rss_bytes
    return memory_of(replica.version)


def _is_leaving(replica: Replica) -> bool:
    """Its memory comes back without anybody's doing."""
    return replica.state == ReplicaState.WITHDRAWN or replica.version.state == VersionState.RETIRING
