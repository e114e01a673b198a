"""Writing documents to Redis, each from the rows as they are and under a stamp that was read before them."""

from __future__ import annotations

import logging
from functools import partial

import redis
from django.db.models import F

from catalog.models import Service
from common.dispatch import call_after_commit
from documents.store import PLACEMENTS, ROUTES, Collection, Stamp
from tenants.models import Tenant
from versions.models import Node
from versions.routes.messages import placements_message, route_message
from versions.routes.redis_client import writer
from versions.selectors import platform_epoch

log = logging.getLogger(__name__)


def publish(service: Service) -> bool:
    """Writes the route of `service` if newer; True when it was. Raises redis.RedisError.

    A deleted service's is a tombstone, and none is written once its name has a new owner.

    Stamp and rows need no transaction: the stamp is read first, so the rows are as new or newer, and what is newer
    raises the generation and is published again.
    """
    stamp = Stamp(platform_epoch(), _generation(service.pk))
    fresh = Service.objects.select_related("tenant").get(pk=service.pk)
    if fresh.deleted_at is not None and _has_new_owner(fresh):
        return False
    route = route_message(fresh, stamp)
    return writer().put_if_newer(ROUTES, route_field(fresh), stamp, route.SerializeToString())


def publish_tenant(tenant: Tenant) -> int:
    """Publishes the route of every service of `tenant`; says how many. Raises redis.RedisError."""
    services = list(Service.objects.of(tenant).filter(deleted_at__isnull=True))
    for service in services:
        publish(service)
    return len(services)


def publish_placements(node: Node) -> bool:
    """Writes the placements of `node` if newer; True when they were. Raises redis.RedisError."""
    generation = Node.objects.values_list("placements_generation", flat=True).get(pk=node.pk)
    stamp = Stamp(platform_epoch(), generation)
    placements = placements_message(node, stamp)
    return writer().put_if_newer(PLACEMENTS, node.name, stamp, placements.SerializeToString())


def publish_after_commit(service_id: int) -> None:
    """Publishes the route in this process, as soon as the transaction has committed."""
    call_after_commit(partial(publish_quietly, service_id))


def publish_placements_after_commit(node_id: int) -> None:
    call_after_commit(partial(publish_placements_quietly, node_id))


def publish_quietly(service_id: int) -> None:
    """Publishes the route; when Redis is away that is logged, because the sweeper will."""
    try:
        publish(Service.objects.get(pk=service_id))
    except redis.RedisError as error:
        log.warning("The route of service %s was not published (%s); the sweeper will.", service_id, error)


def publish_placements_quietly(node_id: int) -> None:
    try:
        publish_placements(Node.objects.get(pk=node_id))
    except redis.RedisError as error:
        log.warning("The placements of node %s were not published (%s); the sweeper will.", node_id, error)


def publish_tenant_quietly(tenant_id: int) -> None:
    try:
        publish_tenant(Tenant.objects.get(pk=tenant_id))
    except redis.RedisError as error:
        log.warning("The routes of tenant %s were not published (%s); the sweeper will.", tenant_id, error)


def route_field(service: Service) -> str:
    return f"{service.tenant.name}/{service.name}"


def published_stamps(collection: Collection) -> dict[str, Stamp]:
    """What Redis holds now. Raises redis.RedisError."""
    return writer().stamps(collection)


def wanted_routes() -> dict[str, tuple[int, int]]:
    """Field -> (generation, service id) for every route that Redis shall hold; a deleted service's is a tombstone."""
    generations = Service.objects.annotate(generation=F("route_generation") + F("tenant__route_generation"))
    # The last row of a name is its present owner.
    rows = generations.order_by("pk").values_list("tenant__name", "name", "generation", "pk")
    return {f"{tenant}/{name}": (generation, pk) for tenant, name, generation, pk in rows}


def wanted_placements() -> dict[str, tuple[int, int]]:
    """Node name -> (generation, node id) for every node that was ever given something."""
    rows = Node.objects.filter(placements_generation__gt=0).values_list("name", "placements_generation", "pk")
    return {name: (generation, pk) for name, generation, pk in rows}


def _has_new_owner(service: Service) -> bool:
    return Service.objects.of(service.tenant).filter(name=service.name, deleted_at__isnull=True).exists()


def _generation(service_id: int) -> int:
    both = Service.objects.filter(pk=service_id).values_list("route_generation", "tenant__route_generation").get()
    return int(sum(both))
