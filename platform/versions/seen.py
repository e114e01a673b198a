"""What the data plane's reports say, as plain values; `versions.routes` makes them from the wire's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HealthSeen:
    """What the agent's audits show of the process that is READY now; documents.proto says what each field means."""

    age_seconds: float = 0.0
    agreement: float = 0.0
    version: int = 0
    items: int = 0
    error: str = ""
    p99_ms: float = 0.0
    sustained_p99_ms: float = 0.0
    right_in_a_row: int = 0
    wrong_in_a_row: int = 0
    silent_in_a_row: int = 0
    away_in_a_row: int = 0


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
    # None while nothing is loaded, and from a process that knows no audits.
    health: HealthSeen | None = None


@dataclass(frozen=True)
class NodeSeen:
    """One node as its agent reports it; `placements` is the (epoch, generation) that the agent has carried out.

    `leaving` are replicas that it has told to end and that have not ended yet.
    """

    name: str
    cpu_count: int = 0
    memory_total_bytes: int = 0
    memory_available_bytes: int = 0
    placements: tuple[int, int] = (0, 0)
    replicas: tuple[ReplicaSeen, ...] = ()
    leaving: frozenset[int] = frozenset()
