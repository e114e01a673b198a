"""Rows as recallpb messages: the route of a service, the placements of a node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from catalog.models import Service
from documents.store import Stamp
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2
from tenants.models import ApiKey, Quota
from versions.models import Node, Replica, Version
from versions.routable import rolled_back_numbers
from versions.selectors import candidate_versions, routable_versions
from versions.states import ReplicaState

US_PER_MS = 1_000


def route_message(service: Service, stamp: Stamp) -> documents_pb2.Route:
    """The route of `service`, from rows that must be at least as new as `stamp`: read the stamp first."""
    tenant, name = service.tenant.name, service.name
    if service.deleted_at is not None:
        return documents_pb2.Route(stamp=stamp.to_message(), tenant=tenant, service=name, tombstone=True)
    versions = [_route_version(service, version) for version in routable_versions(service)]
    candidates = [_route_version(service, version) for version in candidate_versions(service)]
    return documents_pb2.Route(
        stamp=stamp.to_message(),
        tenant=tenant,
        service=name,
        versions=[version for version in versions if version is not None],
        limits=_limits(service),
        tenant_qps_max=Quota.objects.values_list("qps_max", flat=True).get(tenant=service.tenant),
        keys=[_key(key) for key in _valid_keys(service)],
        candidates=[version for version in candidates if version is not None],
        rolled_back=rolled_back_numbers(service),
    )


def placements_message(node: Node, stamp: Stamp) -> documents_pb2.Placements:
    """What `node` shall run, from rows that must be at least as new as `stamp`."""
    gone = [ReplicaState.WITHDRAWN, ReplicaState.GONE]
    replicas = Replica.objects.filter(node=node).exclude(state__in=gone).select_related("version__service__tenant")
    placements = [_placement(replica) for replica in replicas.order_by("pk")]
    return documents_pb2.Placements(stamp=stamp.to_message(), node=node.name, placements=placements)


def _route_version(service: Service, version: Version) -> documents_pb2.RouteVersion | None:
    """None for a version that is loaded nowhere, unless it is live."""
    replicas = _route_replicas(version)
    if not replicas and version.number != service.live_version:
        return None
    return documents_pb2.RouteVersion(
        version=version.number,
        model_version=version.model_version,
        items=version.items,
        searchable_items=version.searchable_items,
        schema=_schema(version),
        replicas=replicas,
        cost=_cost(version),
    )


def _cost(version: Version) -> documents_pb2.Cost | None:
    """As the build's steps measured and reported it; None where they did not."""
    measured, model = version.report.get("check") or {}, version.report.get("model") or {}
    if "search_ms" not in measured:
        return None
    ef = version.search_params.get("ef")
    return documents_pb2.Cost(
        vector_us=measured["search_ms"] * US_PER_MS,
        effort=max(ef, measured["at"]) if ef else 0,
        model_us=model.get("ms", 0.0) * US_PER_MS,
    )


def _route_replicas(version: Version) -> list[documents_pb2.RouteReplica]:
    """A replica that has been READY keeps its address while it respawns; the gateway notices by itself.

    One that an audit found sick is withheld until it is cured, and a new one in a lost one's place until it is checked.
    """
    serving = Replica.objects.filter(version=version, state__in=[ReplicaState.READY, ReplicaState.LOADING])
    serving = serving.filter(withheld=False)
    return [
        documents_pb2.RouteReplica(replica_id=f"r{replica.pk}", address=replica.address, node=replica.node.name)
        for replica in serving.exclude(address="").select_related("node").order_by("pk")
    ]


def _schema(version: Version) -> recall_pb2.Schema:
    schema = version.spec["schema"]
    return recall_pb2.Schema(
        id_type=schema["id_type"],
        dimension=schema["dimension"],
        metric=schema["metric"],
        normalize=schema["normalize"],
        attributes=[recall_pb2.Attribute(name=each["name"], type=each["type"]) for each in schema["attributes"]],
        query_model=_query_model(schema["query_model"]) if schema.get("query_model") else None,
    )


def _query_model(model: dict[str, Any]) -> recall_pb2.QueryModel:
    return recall_pb2.QueryModel(vectors=model["vectors"], inputs=map(_model_input, model["inputs"]))


def _model_input(each: dict[str, Any]) -> recall_pb2.ModelInput:
    unknown = each["unknown"]
    return recall_pb2.ModelInput(
        name=each["name"],
        type=each["type"],
        max_length=each["max_length"] or 0,
        truncate=each["truncate"] if each["max_length"] else "",
        has_vocabulary=each["vocab"] is not None,
        unknown=(unknown if isinstance(unknown, str) else "index") if each["vocab"] else "",
    )


def _limits(service: Service) -> recall_pb2.Limits:
    limits = service.spec["limits"]
    return recall_pb2.Limits(
        qps=limits["qps"],
        concurrency=limits["concurrency"],
        max_top_k=limits["max_top_k"],
        max_ef=limits["max_ef"],
        allow_exact=limits["allow_exact"],
    )


def _valid_keys(service: Service) -> Iterable[ApiKey]:
    valid = ApiKey.objects.of(service.tenant).filter(revoked_at__isnull=True)
    unexpired = valid.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))
    return unexpired.filter(service__in=["", service.name]).order_by("prefix")


def _key(key: ApiKey) -> documents_pb2.Key:
    return documents_pb2.Key(
        prefix=key.prefix,
        digest=bytes.fromhex(key.digest),
        scope=key.scope,
        service=key.service,
        expires_at_seconds=int(key.expires_at.timestamp()) if key.expires_at else 0,
    )


def _placement(replica: Replica) -> documents_pb2.Placement:
    version = replica.version
    return documents_pb2.Placement(
        replica_id=f"r{replica.pk}",
        tenant=version.service.tenant.name,
        service=version.service.name,
        version=version.number,
        artifact=version.artifact,
        manifest_sha256=version.manifest_sha256,
        orders=[documents_pb2.Order(**order) for order in replica.orders],
    )
