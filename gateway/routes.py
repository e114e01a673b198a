"""What the gateway knows: one immutable Route per service, replaced whole and only by a newer one.

A request pins the Route it resolved; a switch is the replacement of one dictionary entry, which no request
under way notices. An absent document changes nothing, a tombstone removes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from documents.store import ZERO, Stamp
from gateway.errors import FailedPrecondition, Unavailable
from gateway.lanes import Prices, prices_of
from recallpb.internal.v1 import documents_pb2
from recallpb.v1 import recall_pb2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Replica:
    """Where one version answers; the triple identifies a connection."""

    replica_id: str
    address: str
    version: int


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Schema:
    id_type: str
    dimension: int
    metric: str
    normalize: bool
    attributes: tuple[Attribute, ...]
    # A serialised recallpb QueryModel, as callers are told it; empty: there is none.
    query_model: bytes = b""


@dataclass(frozen=True, slots=True)
class RouteVersion:
    number: int
    model_version: str
    items: int
    searchable_items: int
    schema: Schema
    prices: Prices
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the whole service. `qps` and `concurrency` of 0 mean no limit; the others are taken literally."""

    qps: float
    concurrency: int
    max_top_k: int
    max_ef: int
    allow_exact: bool


@dataclass(frozen=True, slots=True)
class Key:
    """What may be known of an API key: its public prefix and the digest of the whole."""

    prefix: str
    digest: bytes
    scope: str
    service: str
    expires_at_seconds: int


@dataclass(frozen=True, slots=True)
class Route:
    """One service as of one stamp. `document` is the message it was read from."""

    stamp: Stamp
    tenant: str
    service: str
    name: str
    tombstone: bool
    versions: tuple[RouteVersion, ...]
    limits: Limits
    tenant_qps_max: float
    keys: tuple[Key, ...]
    document: bytes = dataclasses.field(repr=False)
    # Loaded, and never live: only who requires one of them by its number is answered by it.
    candidates: tuple[RouteVersion, ...] = ()
    # Numbers of versions that are marked bad; they may be loaded and answer nobody.
    rolled_back: tuple[int, ...] = ()

    @property
    def field(self) -> str:
        return f"{self.tenant}/{self.service}"

    def live(self) -> RouteVersion:
        """The version that answers by default. Raises FailedPrecondition when there is none yet."""
        if not self.versions:
            raise FailedPrecondition("NO_LIVE_VERSION", "the service has no live version yet")
        return self.versions[0]

    def all_replicas(self) -> set[Replica]:
        """Of every version that may answer."""
        return {replica for version in (*self.versions, *self.candidates) for replica in version.replicas}

    def choose(self, require_version: int, model_version: str) -> RouteVersion:
        """The live version, else the first hot one that is what the caller requires, or the candidate of that number.

        Raises FailedPrecondition.
        """
        live = self.live()
        if not require_version and not model_version:
            return live
        by_number = self.candidates if require_version else ()
        for version in (*self.versions, *by_number):
            if require_version in (0, version.number) and model_version in ("", version.model_version):
                return version
        if require_version and all(require_version != version.number for version in (*self.versions, *self.candidates)):
            raise self._not_named(require_version, live.number)
        message = f"no loaded version is of that model; live is of {live.model_version!r}"
        raise FailedPrecondition("MODEL_VERSION_NOT_LOADED", message, field="model_version")

    def _not_named(self, number: int, live: int) -> FailedPrecondition:
        if number in self.rolled_back:
            message = f"version {number} was rolled back and marked bad, so it is not asked; version {live} is live"
            message = f"{message}. Activating version {number} makes it good again"
            return FailedPrecondition("VERSION_ROLLED_BACK", message, field="require_version")
        message = f"version {number} is not loaded; version {live} is live"
        return FailedPrecondition("VERSION_NOT_LOADED", message, field="require_version")


class Follower(Protocol):
    """Something that holds state made from routes; told of each change before the next request is served."""

    def follow(self, old: Route | None, new: Route, /) -> None: ...


class Routes:
    """The routes held, by service. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._by_field: dict[str, Route] = {}
        self._by_name: dict[str, Route] = {}
        self._taken_over_at: dict[str, float] = {}
        self._followers: list[Follower] = []
        self._on_change: list[Callable[[], None]] = []
        self.loaded = False

    def subscribe(self, *followers: Follower) -> None:
        self._followers.extend(followers)

    def on_change(self, callback: Callable[[], None]) -> None:
        """`callback` is called once after each `apply` that changed something."""
        self._on_change.append(callback)

    def find(self, name: str) -> Route | None:
        """The route of `tenants/{tenant}/services/{service}`."""
        return self._by_name.get(name)

    def stamp_of(self, field: str) -> Stamp:
        held = self._by_field.get(field)
        return held.stamp if held else ZERO

    def all(self) -> Iterator[Route]:
        """Tombstones too: they are acknowledged, and keep older documents out."""
        return iter(self._by_field.values())

    def ages_seconds(self) -> Iterable[tuple[str, float]]:
        """Since when each service's route has been the one held."""
        now = time.monotonic()
        return [(name, now - since) for name, since in list(self._taken_over_at.items())]

    def require_loaded(self) -> None:
        """Raises Unavailable until routes came from disk or Redis: a key cannot be called unknown before that."""
        if not self.loaded:
            raise Unavailable("NO_ROUTES", "the gateway has just started and has no routes yet; try again")

    def apply(self, documents: Mapping[str, bytes]) -> int:
        """Takes over what is newer; returns how many routes changed. A document that cannot be read changes nothing."""
        changed = sum(self._replace(route) for route in _read_documents(documents))
        if changed:
            for callback in self._on_change:
                callback()
        return changed

    def _replace(self, route: Route) -> bool:
        old = self._by_field.get(route.field)
        if old and route.stamp <= old.stamp:
            return False
        for follower in self._followers:
            follower.follow(old, route)
        self._by_field[route.field] = route
        if route.tombstone:
            self._by_name.pop(route.name, None)
            self._taken_over_at.pop(route.name, None)
        else:
            self._by_name[route.name] = route
            self._taken_over_at[route.name] = time.monotonic()
        return True


def _read_documents(documents: Mapping[str, bytes]) -> Iterable[Route]:
    for name, document in documents.items():
        try:
            route = parse_route(document)
        except DecodeError:
            log.exception("route.unreadable", field=name)
            continue
        if route.field != name:
            log.error("route.misplaced", field=name, names=route.field)
            continue
        yield route


def parse_route(document: bytes) -> Route:
    """Raises DecodeError."""
    message = documents_pb2.Route.FromString(document)
    return Route(
        stamp=Stamp.of(message.stamp),
        tenant=message.tenant,
        service=message.service,
        name=f"tenants/{message.tenant}/services/{message.service}",
        tombstone=message.tombstone,
        versions=() if message.tombstone else tuple(_version(version) for version in message.versions),
        limits=_limits(message.limits),
        tenant_qps_max=message.tenant_qps_max,
        keys=() if message.tombstone else tuple(_key(key) for key in message.keys),
        document=document,
        candidates=() if message.tombstone else tuple(_version(version) for version in message.candidates),
        rolled_back=tuple(message.rolled_back),
    )


def _version(message: documents_pb2.RouteVersion) -> RouteVersion:
    return RouteVersion(
        number=message.version,
        model_version=message.model_version,
        items=message.items,
        searchable_items=message.searchable_items,
        schema=_schema(message.schema),
        prices=_prices(message),
        replicas=tuple(Replica(item.replica_id, item.address, message.version) for item in message.replicas),
    )


def _prices(message: documents_pb2.RouteVersion) -> Prices:
    return prices_of(
        items=message.searchable_items,
        dimension=message.schema.dimension,
        vector_us=message.cost.vector_us,
        effort=message.cost.effort,
        model_us=message.cost.model_us,
        model_vectors=message.schema.query_model.vectors,
        attribute_types={item.name: item.type for item in message.schema.attributes},
    )


def _schema(message: recall_pb2.Schema) -> Schema:
    return Schema(
        id_type=message.id_type,
        dimension=message.dimension,
        metric=message.metric,
        normalize=message.normalize,
        attributes=tuple(Attribute(item.name, item.type) for item in message.attributes),
        query_model=message.query_model.SerializeToString() if message.HasField("query_model") else b"",
    )


def _limits(message: recall_pb2.Limits) -> Limits:
    return Limits(
        qps=message.qps,
        concurrency=message.concurrency,
        max_top_k=message.max_top_k,
        max_ef=message.max_ef,
        allow_exact=message.allow_exact,
    )


def _key(message: documents_pb2.Key) -> Key:
    return Key(message.prefix, message.digest, message.scope, message.service, message.expires_at_seconds)
