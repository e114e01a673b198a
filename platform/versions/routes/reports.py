"""What nodes and gateways report, as plain values."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from catalog.models import Service
from documents.key_uses import KeyUse
from documents.store import ZERO, Stamp
from documents.traffic import Traffic
from recallpb.internal.v1 import documents_pb2
from versions.routes import redis_client
from versions.routes.redis_client import writer
from versions.seen import HealthSeen, NodeSeen, ReplicaSeen
from versions.states import ReplicaState

REPLICA_ID = re.compile(r"^r(\d{1,18})$")

_States = documents_pb2.ReplicaReport.State
STATES = {
    _States.LOADING: ReplicaState.LOADING,
    _States.READY: ReplicaState.READY,
    _States.FAILED: ReplicaState.FAILED,
    _States.RESPAWNING: ReplicaState.LOADING,
}


def reporting_nodes() -> list[str]:
    """The names of the nodes that were heard lately. Raises redis.RedisError."""
    return writer().reporting_nodes()


def node_reports(nodes: Sequence[str]) -> list[NodeSeen]:
    """What those of these nodes say that were heard lately. Raises redis.RedisError."""
    return [_node_seen(report) for report in writer().node_reports(nodes).values()]


def served_stamps() -> dict[str, dict[str, Stamp]]:
    """Gateway -> `tenant/service` -> the stamp it serves, for all gateways with a lease. Raises redis.RedisError."""
    reports = writer().gateway_reports()
    return {
        gateway: {field: Stamp.of(stamp) for field, stamp in report.serving.items()}
        for gateway, report in reports.items()
    }


def gateways_heard() -> list[dict[str, Any]]:
    """Gateways with a lease, by name: where they listen, how many routes they serve, and how old their news are.

    Raises redis.RedisError.
    """
    reports = writer().gateway_reports()
    return [
        {
            "name": name,
            "address": report.address,
            "pid": report.pid,
            "routes": len(report.serving),
            "stale_seconds": report.stale_seconds,
        }
        for name, report in sorted(reports.items())
    ]


def acknowledged(service: Service, stamp: Stamp) -> tuple[bool, list[str]]:
    """Whether every leased gateway serves `stamp` of the service's route or a newer one, and which do not yet.

    Raises redis.RedisError.
    """
    laggards = laggards_of(service, stamp, served_stamps())
    return not laggards, laggards


def laggards_of(service: Service, stamp: Stamp, served: Mapping[str, Mapping[str, Stamp]]) -> list[str]:
    """The gateways of `served` that do not serve `stamp` or a newer one yet."""
    field = f"{service.tenant.name}/{service.name}"
    return sorted(gateway for gateway, serving in served.items() if serving.get(field, ZERO) < stamp)


def settled_traffic() -> dict[datetime, dict[str, Traffic]]:
    """What was asked, by `tenants/{tenant}/services/{service}`, in every span that is over and not yet taken, in order.

    Raises redis.RedisError.
    """
    spans = redis_client.traffic().settled(time.time())
    return {datetime.fromtimestamp(began, UTC): asked for began, asked in spans.items()}


def forget_traffic(spans: Sequence[datetime]) -> None:
    """Says that these spans were taken. Raises redis.RedisError."""
    redis_client.traffic().forget([int(began.timestamp()) for began in spans])


def take_key_uses() -> list[KeyUse]:
    """Which keys called which services since this was last asked. Raises redis.RedisError."""
    return redis_client.key_uses().take()


def _node_seen(report: documents_pb2.NodeReport) -> NodeSeen:
    replicas = [_replica_seen(replica) for replica in report.replicas]
    return NodeSeen(
        name=report.node,
        cpu_count=report.cpu_count,
        memory_total_bytes=report.memory_total_bytes,
        memory_available_bytes=report.memory_available_bytes,
        placements=(report.placements_stamp.epoch, report.placements_stamp.generation),
        replicas=tuple(replica for replica in replicas if replica is not None),
        leaving=frozenset(int(named[1]) for named in map(REPLICA_ID.match, report.leaving) if named is not None),
    )


def _replica_seen(report: documents_pb2.ReplicaReport) -> ReplicaSeen | None:
    """None for what is no replica of ours, or says nothing of its state."""
    named = REPLICA_ID.match(report.replica_id)
    state = STATES.get(report.state)
    if named is None or state is None:
        return None
    return ReplicaSeen(
        replica_id=int(named[1]),
        state=state,
        address=report.address,
        items=report.items,
        rss_bytes=report.rss_bytes,
        respawns=report.respawns,
        error=report.error,
        results={result.order_id: _result(result) for result in report.orders},
        health=_health(report.health) if report.HasField("health") else None,
    )


def _health(health: documents_pb2.ReplicaHealth) -> HealthSeen:
    return HealthSeen(**{field.name: getattr(health, field.name) for field in fields(HealthSeen)})


def _result(result: documents_pb2.OrderResult) -> dict[str, Any]:
    return {
        "ok": result.ok,
        "error": result.error,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "queries": result.queries,
        "agreement": result.agreement,
        "agreement_min": result.agreement_min,
        "version": result.version,
        "items": result.items,
        "rows_sampled": result.rows_sampled,
        "rows_found": result.rows_found,
        "beside_version": result.beside_version,
        "timed": result.timed,
        "beside_p50_ms": result.beside_p50_ms,
        "beside_p99_ms": result.beside_p99_ms,
        "overlap": result.overlap,
        "mean_score": result.mean_score,
        "beside_mean_score": result.beside_mean_score,
    }
