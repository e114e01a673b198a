"""The platform as its administrators see it. Reads only; what Redis knows is left out when it is away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import redis
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from engines import settings as engine_settings
from tenants.models import Tenant
from versions import routes
from versions.models import Build, Node, Replica, Version
from versions.routable import noting_route
from versions.selectors import NODE_FRESH_SECONDS
from versions.standing import Condition, conditions_of
from versions.states import BuildState, ReplicaState
from versions.views import node_view, replica_view

NODES_SHOWN_MAX = 200
# Of all nodes together.
REPLICAS_SHOWN_MAX = 500
TENANTS_SHOWN_MAX = 200
VERSIONS_AT_A_SERVER_MAX = 200


def nodes_and_replicas() -> list[dict[str, Any]]:
    """Nodes with what is loaded on them; `fresh`: its agent was heard lately, `left_out`: more that is loaded."""
    heard_since = timezone.now() - timedelta(seconds=NODE_FRESH_SECONDS)
    placed = noting_route(Replica.objects.exclude(state=ReplicaState.GONE))
    present = placed.select_related("version__service__tenant", "node")
    counted = Replica.objects.exclude(state=ReplicaState.GONE).order_by().values_list("node").annotate(Count("pk"))
    loaded = dict(counted)
    by_node: dict[int, list[dict[str, Any]]] = {}
    for replica in present.order_by("node__name", "version__service__name", "-version__number")[:REPLICAS_SHOWN_MAX]:
        service = replica.version.service
        shown = {**replica_view(replica), "tenant": service.tenant.name, "service": service.name}
        by_node.setdefault(replica.node.pk, []).append(shown)
    return [
        {
            **node_view(node),
            "fresh": node.seen_at is not None and node.seen_at >= heard_since,
            "replicas": by_node.get(node.pk, []),
            "left_out": max(0, loaded.get(node.pk, 0) - len(by_node.get(node.pk, []))),
        }
        for node in Node.objects.order_by("name")[:NODES_SHOWN_MAX]
    ]


def nodes_left_out() -> int:
    """How many more there are."""
    return max(0, Node.objects.count() - NODES_SHOWN_MAX)


def index_servers() -> list[dict[str, Any]]:
    """The servers that engines keep indexes at, with the versions there; empty where all indexes are files.

    A version is there until its files are gone, whatever its state; what running builds have begun is not told. A
    server that is configured no more, and at which versions still are, has no `place`. `left_out`: more that are there.
    """
    at = _versions_at_servers()
    shown = {key for rows in at.values() for key, _ in rows[:VERSIONS_AT_A_SERVER_MAX]}
    versions = Version.objects.select_related("service__tenant").in_bulk(shown)
    conditions = conditions_of(versions.values())
    known = {name: (engine, place) for engine, name, place in engine_settings.servers()}
    for name, rows in at.items():
        known.setdefault(name, (versions[rows[0][0]].engine, ""))
    return [
        {
            "name": name,
            "engine": engine,
            "place": place,
            "items": sum(items for _, items in at.get(name, [])),
            "versions": [
                _at_server(versions[key], conditions[key]) for key, _ in at.get(name, [])[:VERSIONS_AT_A_SERVER_MAX]
            ],
            "left_out": max(0, len(at.get(name, [])) - VERSIONS_AT_A_SERVER_MAX),
        }
        for name, (engine, place) in sorted(known.items())
    ]


def _versions_at_servers() -> dict[str, list[tuple[int, int]]]:
    """By the server's name, key and items of each; by service, the newest first."""
    kept = Version.objects.filter(files_deleted_at__isnull=True, report__index__has_key="places")
    ordered = kept.exclude(report__index__places=[]).order_by("service__tenant__name", "service__name", "-number")
    at: dict[str, list[tuple[int, int]]] = {}
    for key, items, names in ordered.values_list("pk", "searchable_items", "report__index__places"):
        for name in names:
            at.setdefault(name, []).append((key, items))
    return at


def _at_server(version: Version, condition: Condition) -> dict[str, Any]:
    """`condition` is None of a version that nobody asks, because it is loaded nowhere."""
    service = version.service
    live = service.live_version == version.number
    return {
        "tenant": service.tenant.name,
        "service": service.name,
        "number": version.number,
        "live": live,
        "state": version.state,
        "items": version.searchable_items,
        "condition": condition if live or condition.is_loaded else None,
    }


def builds_under_way() -> dict[str, int]:
    """Builds by state, of those that are not over; the rows are the queue."""
    states = (BuildState.PENDING, BuildState.RUNNING, BuildState.HELD)
    counted = Build.objects.filter(state__in=states).order_by().values_list("state").annotate(Count("pk"))
    return dict.fromkeys(map(str, states), 0) | dict(counted)


def gateways() -> list[dict[str, Any]] | None:
    """Gateways with a lease; None when Redis is away and nobody can tell."""
    try:
        return routes.gateways_heard()
    except redis.RedisError:
        return None


def tenants_with_counts() -> list[Tenant]:
    """Living tenants by name, with `living_services` and `people`."""
    living = Count("services", filter=Q(services__deleted_at__isnull=True), distinct=True)
    counted = _living_tenants().annotate(living_services=living, people=Count("members", distinct=True))
    return list(counted.order_by("name")[:TENANTS_SHOWN_MAX])


def tenants_left_out() -> int:
    """How many more there are."""
    return max(0, _living_tenants().count() - TENANTS_SHOWN_MAX)


def _living_tenants() -> QuerySet[Tenant]:
    return Tenant.objects.filter(deleted_at__isnull=True)
