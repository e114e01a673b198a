"""What the data plane's reports say, as plain values; `versions.routes` makes them from the wire's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ReplicaSeen:
    """One replica as its node's agent reports it. `state` is a ReplicaState: LOADING, READY or FAILED."""

    replica_id: int
    state: str
    address: str = ""
    items: int = 0
    rss_bytes: int = 0
    respawns: int = 0
    error: str = ""
    # {order_id: the fields of OrderResult but its id}
    results: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeSeen:
    """One node as its agent reports it; `placements` is the (epoch, generation) that the agent has carried out."""

    name: str
    cpu_count: int = 0
    memory_total_bytes: int = 0
    memory_available_bytes: int = 0
    placements: tuple[int, int] = (0, 0)
    replicas: tuple[ReplicaSeen, ...] = ()
