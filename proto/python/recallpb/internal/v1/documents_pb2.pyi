from recallpb.v1 import recall_pb2 as _recall_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stamp(_message.Message):
    __slots__ = ("epoch", "generation")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    generation: int
    def __init__(self, epoch: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("stamp", "tenant", "service", "tombstone", "versions", "limits", "tenant_qps_max", "keys", "candidates", "rolled_back")
    STAMP_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TENANT_QPS_MAX_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ROLLED_BACK_FIELD_NUMBER: _ClassVar[int]
    stamp: Stamp
    tenant: str
    service: str
    tombstone: bool
    versions: _containers.RepeatedCompositeFieldContainer[RouteVersion]
    limits: _recall_pb2.Limits
    tenant_qps_max: float
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    candidates: _containers.RepeatedCompositeFieldContainer[RouteVersion]
    rolled_back: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, stamp: _Optional[_Union[Stamp, _Mapping]] = ..., tenant: _Optional[str] = ..., service: _Optional[str] = ..., tombstone: _Optional[bool] = ..., versions: _Optional[_Iterable[_Union[RouteVersion, _Mapping]]] = ..., limits: _Optional[_Union[_recall_pb2.Limits, _Mapping]] = ..., tenant_qps_max: _Optional[float] = ..., keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., candidates: _Optional[_Iterable[_Union[RouteVersion, _Mapping]]] = ..., rolled_back: _Optional[_Iterable[int]] = ...) -> None: ...

class RouteVersion(_message.Message):
    __slots__ = ("version", "model_version", "items", "schema", "replicas", "searchable_items", "cost")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_ITEMS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    version: int
    model_version: str
    items: int
    schema: _recall_pb2.Schema
    replicas: _containers.RepeatedCompositeFieldContainer[RouteReplica]
    searchable_items: int
    cost: Cost
    def __init__(self, version: _Optional[int] = ..., model_version: _Optional[str] = ..., items: _Optional[int] = ..., schema: _Optional[_Union[_recall_pb2.Schema, _Mapping]] = ..., replicas: _Optional[_Iterable[_Union[RouteReplica, _Mapping]]] = ..., searchable_items: _Optional[int] = ..., cost: _Optional[_Union[Cost, _Mapping]] = ...) -> None: ...

class Cost(_message.Message):
    __slots__ = ("vector_us", "effort", "model_us")
    VECTOR_US_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    MODEL_US_FIELD_NUMBER: _ClassVar[int]
    vector_us: float
    effort: int
    model_us: float
    def __init__(self, vector_us: _Optional[float] = ..., effort: _Optional[int] = ..., model_us: _Optional[float] = ...) -> None: ...

class RouteReplica(_message.Message):
    __slots__ = ("replica_id", "address", "node")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    address: str
    node: str
    def __init__(self, replica_id: _Optional[str] = ..., address: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("prefix", "digest", "scope", "service", "expires_at_seconds")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    digest: bytes
    scope: str
    service: str
    expires_at_seconds: int
    def __init__(self, prefix: _Optional[str] = ..., digest: _Optional[bytes] = ..., scope: _Optional[str] = ..., service: _Optional[str] = ..., expires_at_seconds: _Optional[int] = ...) -> None: ...

class RouteSnapshot(_message.Message):
    __slots__ = ("routes", "revoked_prefixes")
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    REVOKED_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    revoked_prefixes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., revoked_prefixes: _Optional[_Iterable[str]] = ...) -> None: ...

class Placements(_message.Message):
    __slots__ = ("stamp", "node", "placements")
    STAMP_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    stamp: Stamp
    node: str
    placements: _containers.RepeatedCompositeFieldContainer[Placement]
    def __init__(self, stamp: _Optional[_Union[Stamp, _Mapping]] = ..., node: _Optional[str] = ..., placements: _Optional[_Iterable[_Union[Placement, _Mapping]]] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("replica_id", "tenant", "service", "version", "artifact", "manifest_sha256", "orders")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    tenant: str
    service: str
    version: int
    artifact: str
    manifest_sha256: str
    orders: _containers.RepeatedCompositeFieldContainer[Order]
    def __init__(self, replica_id: _Optional[str] = ..., tenant: _Optional[str] = ..., service: _Optional[str] = ..., version: _Optional[int] = ..., artifact: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., orders: _Optional[_Iterable[_Union[Order, _Mapping]]] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("order_id", "kind", "beside", "beside_version", "top_k")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Order.Kind]
        WARM: _ClassVar[Order.Kind]
        CHECK: _ClassVar[Order.Kind]
        COMPARE: _ClassVar[Order.Kind]
        AUDIT: _ClassVar[Order.Kind]
        RESTART: _ClassVar[Order.Kind]
    KIND_UNSPECIFIED: Order.Kind
    WARM: Order.Kind
    CHECK: Order.Kind
    COMPARE: Order.Kind
    AUDIT: Order.Kind
    RESTART: Order.Kind
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    BESIDE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    kind: Order.Kind
    beside: str
    beside_version: int
    top_k: int
    def __init__(self, order_id: _Optional[str] = ..., kind: _Optional[_Union[Order.Kind, str]] = ..., beside: _Optional[str] = ..., beside_version: _Optional[int] = ..., top_k: _Optional[int] = ...) -> None: ...

class NodeReport(_message.Message):
    __slots__ = ("node", "cpu_count", "memory_total_bytes", "memory_available_bytes", "replicas", "placements_stamp", "agent_pid", "leaving")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENTS_STAMP_FIELD_NUMBER: _ClassVar[int]
    AGENT_PID_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    node: str
    cpu_count: int
    memory_total_bytes: int
    memory_available_bytes: int
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaReport]
    placements_stamp: Stamp
    agent_pid: int
    leaving: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., cpu_count: _Optional[int] = ..., memory_total_bytes: _Optional[int] = ..., memory_available_bytes: _Optional[int] = ..., replicas: _Optional[_Iterable[_Union[ReplicaReport, _Mapping]]] = ..., placements_stamp: _Optional[_Union[Stamp, _Mapping]] = ..., agent_pid: _Optional[int] = ..., leaving: _Optional[_Iterable[str]] = ...) -> None: ...

class ReplicaReport(_message.Message):
    __slots__ = ("replica_id", "state", "address", "pid", "version", "items", "rss_bytes", "error", "orders", "respawns", "health")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[ReplicaReport.State]
        LOADING: _ClassVar[ReplicaReport.State]
        READY: _ClassVar[ReplicaReport.State]
        FAILED: _ClassVar[ReplicaReport.State]
        RESPAWNING: _ClassVar[ReplicaReport.State]
    STATE_UNSPECIFIED: ReplicaReport.State
    LOADING: ReplicaReport.State
    READY: ReplicaReport.State
    FAILED: ReplicaReport.State
    RESPAWNING: ReplicaReport.State
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    RESPAWNS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    state: ReplicaReport.State
    address: str
    pid: int
    version: int
    items: int
    rss_bytes: int
    error: str
    orders: _containers.RepeatedCompositeFieldContainer[OrderResult]
    respawns: int
    health: ReplicaHealth
    def __init__(self, replica_id: _Optional[str] = ..., state: _Optional[_Union[ReplicaReport.State, str]] = ..., address: _Optional[str] = ..., pid: _Optional[int] = ..., version: _Optional[int] = ..., items: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., error: _Optional[str] = ..., orders: _Optional[_Iterable[_Union[OrderResult, _Mapping]]] = ..., respawns: _Optional[int] = ..., health: _Optional[_Union[ReplicaHealth, _Mapping]] = ...) -> None: ...

class ReplicaHealth(_message.Message):
    __slots__ = ("age_seconds", "agreement", "version", "items", "error", "p99_ms", "sustained_p99_ms", "right_in_a_row", "wrong_in_a_row", "silent_in_a_row", "away_in_a_row")
    AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    SUSTAINED_P99_MS_FIELD_NUMBER: _ClassVar[int]
    RIGHT_IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    WRONG_IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    SILENT_IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    AWAY_IN_A_ROW_FIELD_NUMBER: _ClassVar[int]
    age_seconds: float
    agreement: float
    version: int
    items: int
    error: str
    p99_ms: float
    sustained_p99_ms: float
    right_in_a_row: int
    wrong_in_a_row: int
    silent_in_a_row: int
    away_in_a_row: int
    def __init__(self, age_seconds: _Optional[float] = ..., agreement: _Optional[float] = ..., version: _Optional[int] = ..., items: _Optional[int] = ..., error: _Optional[str] = ..., p99_ms: _Optional[float] = ..., sustained_p99_ms: _Optional[float] = ..., right_in_a_row: _Optional[int] = ..., wrong_in_a_row: _Optional[int] = ..., silent_in_a_row: _Optional[int] = ..., away_in_a_row: _Optional[int] = ...) -> None: ...

class OrderResult(_message.Message):
    __slots__ = ("order_id", "ok", "error", "p50_ms", "p99_ms", "queries", "agreement", "version", "items", "agreement_min", "rows_sampled", "rows_found", "beside_p50_ms", "beside_p99_ms", "overlap", "mean_score", "beside_mean_score", "beside_version", "timed")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_MIN_FIELD_NUMBER: _ClassVar[int]
    ROWS_SAMPLED_FIELD_NUMBER: _ClassVar[int]
    ROWS_FOUND_FIELD_NUMBER: _ClassVar[int]
    BESIDE_P50_MS_FIELD_NUMBER: _ClassVar[int]
    BESIDE_P99_MS_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    BESIDE_MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    BESIDE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIMED_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    ok: bool
    error: str
    p50_ms: float
    p99_ms: float
    queries: int
    agreement: float
    version: int
    items: int
    agreement_min: float
    rows_sampled: int
    rows_found: int
    beside_p50_ms: float
    beside_p99_ms: float
    overlap: float
    mean_score: float
    beside_mean_score: float
    beside_version: int
    timed: int
    def __init__(self, order_id: _Optional[str] = ..., ok: _Optional[bool] = ..., error: _Optional[str] = ..., p50_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ..., queries: _Optional[int] = ..., agreement: _Optional[float] = ..., version: _Optional[int] = ..., items: _Optional[int] = ..., agreement_min: _Optional[float] = ..., rows_sampled: _Optional[int] = ..., rows_found: _Optional[int] = ..., beside_p50_ms: _Optional[float] = ..., beside_p99_ms: _Optional[float] = ..., overlap: _Optional[float] = ..., mean_score: _Optional[float] = ..., beside_mean_score: _Optional[float] = ..., beside_version: _Optional[int] = ..., timed: _Optional[int] = ...) -> None: ...

class GatewayReport(_message.Message):
    __slots__ = ("gateway", "address", "pid", "serving", "stale_seconds")
    class ServingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Stamp
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Stamp, _Mapping]] = ...) -> None: ...
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    STALE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    gateway: str
    address: str
    pid: int
    serving: _containers.MessageMap[str, Stamp]
    stale_seconds: float
    def __init__(self, gateway: _Optional[str] = ..., address: _Optional[str] = ..., pid: _Optional[int] = ..., serving: _Optional[_Mapping[str, Stamp]] = ..., stale_seconds: _Optional[float] = ...) -> None: ...

class TrafficReport(_message.Message):
    __slots__ = ("services",)
    class ServicesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Traffic
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Traffic, _Mapping]] = ...) -> None: ...
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.MessageMap[str, Traffic]
    def __init__(self, services: _Optional[_Mapping[str, Traffic]] = ...) -> None: ...

class Traffic(_message.Message):
    __slots__ = ("queries", "codes", "counts")
    class CodesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    queries: int
    codes: _containers.ScalarMap[str, int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, queries: _Optional[int] = ..., codes: _Optional[_Mapping[str, int]] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...
