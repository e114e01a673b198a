from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OnMissing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SKIP: _ClassVar[OnMissing]
    FAIL: _ClassVar[OnMissing]
    MIN_COVERAGE: _ClassVar[OnMissing]

class Merge(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MAX: _ClassVar[Merge]
    WEIGHTED_SUM: _ClassVar[Merge]
    ROUND_ROBIN: _ClassVar[Merge]
SKIP: OnMissing
FAIL: OnMissing
MIN_COVERAGE: OnMissing
MAX: Merge
WEIGHTED_SUM: Merge
ROUND_ROBIN: Merge

class RecallRequest(_message.Message):
    __slots__ = ("service", "vectors", "items", "features", "top_k", "filter", "exclude", "params", "merge", "return_attributes", "return_vectors", "require_version", "min_token", "trace", "model_version")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    RETURN_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    RETURN_VECTORS_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    service: str
    vectors: VectorQuery
    items: ItemQuery
    features: FeatureQuery
    top_k: int
    filter: str
    exclude: ItemIds
    params: SearchParams
    merge: Merge
    return_attributes: _containers.RepeatedScalarFieldContainer[str]
    return_vectors: bool
    require_version: int
    min_token: str
    trace: bool
    model_version: str
    def __init__(self, service: _Optional[str] = ..., vectors: _Optional[_Union[VectorQuery, _Mapping]] = ..., items: _Optional[_Union[ItemQuery, _Mapping]] = ..., features: _Optional[_Union[FeatureQuery, _Mapping]] = ..., top_k: _Optional[int] = ..., filter: _Optional[str] = ..., exclude: _Optional[_Union[ItemIds, _Mapping]] = ..., params: _Optional[_Union[SearchParams, _Mapping]] = ..., merge: _Optional[_Union[Merge, str]] = ..., return_attributes: _Optional[_Iterable[str]] = ..., return_vectors: _Optional[bool] = ..., require_version: _Optional[int] = ..., min_token: _Optional[str] = ..., trace: _Optional[bool] = ..., model_version: _Optional[str] = ...) -> None: ...

class VectorQuery(_message.Message):
    __slots__ = ("vectors", "weights")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedCompositeFieldContainer[Vector]
    weights: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, vectors: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ..., weights: _Optional[_Iterable[float]] = ...) -> None: ...

class Vector(_message.Message):
    __slots__ = ("packed", "values")
    PACKED_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    packed: bytes
    values: FloatList
    def __init__(self, packed: _Optional[bytes] = ..., values: _Optional[_Union[FloatList, _Mapping]] = ...) -> None: ...

class FloatList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class Int64List(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class StringList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class ItemIds(_message.Message):
    __slots__ = ("ids", "text_ids")
    IDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    text_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., text_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ItemQuery(_message.Message):
    __slots__ = ("items", "half_life_seconds", "on_missing", "min_coverage", "keep_query_items")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ON_MISSING_FIELD_NUMBER: _ClassVar[int]
    MIN_COVERAGE_FIELD_NUMBER: _ClassVar[int]
    KEEP_QUERY_ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[WeightedItem]
    half_life_seconds: float
    on_missing: OnMissing
    min_coverage: float
    keep_query_items: bool
    def __init__(self, items: _Optional[_Iterable[_Union[WeightedItem, _Mapping]]] = ..., half_life_seconds: _Optional[float] = ..., on_missing: _Optional[_Union[OnMissing, str]] = ..., min_coverage: _Optional[float] = ..., keep_query_items: _Optional[bool] = ...) -> None: ...

class WeightedItem(_message.Message):
    __slots__ = ("id", "text_id", "weight", "timestamp_seconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: int
    text_id: str
    weight: float
    timestamp_seconds: int
    def __init__(self, id: _Optional[int] = ..., text_id: _Optional[str] = ..., weight: _Optional[float] = ..., timestamp_seconds: _Optional[int] = ...) -> None: ...

class FeatureQuery(_message.Message):
    __slots__ = ("features",)
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Feature
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Feature, _Mapping]] = ...) -> None: ...
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    features: _containers.MessageMap[str, Feature]
    def __init__(self, features: _Optional[_Mapping[str, Feature]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("ints", "floats", "strings")
    INTS_FIELD_NUMBER: _ClassVar[int]
    FLOATS_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    ints: Int64List
    floats: FloatList
    strings: StringList
    def __init__(self, ints: _Optional[_Union[Int64List, _Mapping]] = ..., floats: _Optional[_Union[FloatList, _Mapping]] = ..., strings: _Optional[_Union[StringList, _Mapping]] = ...) -> None: ...

class SearchParams(_message.Message):
    __slots__ = ("ef", "exact", "nprobe")
    EF_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    NPROBE_FIELD_NUMBER: _ClassVar[int]
    ef: int
    exact: bool
    nprobe: int
    def __init__(self, ef: _Optional[int] = ..., exact: _Optional[bool] = ..., nprobe: _Optional[int] = ...) -> None: ...

class RecallResponse(_message.Message):
    __slots__ = ("version", "ids", "text_ids", "scores", "found_by", "attributes", "vectors", "coverage", "degraded", "shortfall", "timings", "token", "replica", "model_version")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_IDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FOUND_BY_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    SHORTFALL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    text_ids: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.RepeatedScalarFieldContainer[float]
    found_by: _containers.RepeatedScalarFieldContainer[int]
    attributes: _containers.RepeatedCompositeFieldContainer[AttributeColumn]
    vectors: _containers.RepeatedCompositeFieldContainer[Vector]
    coverage: ItemCoverage
    degraded: bool
    shortfall: int
    timings: Timings
    token: str
    replica: str
    model_version: str
    def __init__(self, version: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., text_ids: _Optional[_Iterable[str]] = ..., scores: _Optional[_Iterable[float]] = ..., found_by: _Optional[_Iterable[int]] = ..., attributes: _Optional[_Iterable[_Union[AttributeColumn, _Mapping]]] = ..., vectors: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ..., coverage: _Optional[_Union[ItemCoverage, _Mapping]] = ..., degraded: _Optional[bool] = ..., shortfall: _Optional[int] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., token: _Optional[str] = ..., replica: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class AttributeColumn(_message.Message):
    __slots__ = ("name", "strings", "ints", "doubles", "bools", "string_lists", "present")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    INTS_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    STRING_LISTS_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    strings: StringList
    ints: Int64List
    doubles: DoubleList
    bools: BoolList
    string_lists: StringLists
    present: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, name: _Optional[str] = ..., strings: _Optional[_Union[StringList, _Mapping]] = ..., ints: _Optional[_Union[Int64List, _Mapping]] = ..., doubles: _Optional[_Union[DoubleList, _Mapping]] = ..., bools: _Optional[_Union[BoolList, _Mapping]] = ..., string_lists: _Optional[_Union[StringLists, _Mapping]] = ..., present: _Optional[_Iterable[bool]] = ...) -> None: ...

class BoolList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, values: _Optional[_Iterable[bool]] = ...) -> None: ...

class DoubleList(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class StringLists(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[StringList]
    def __init__(self, values: _Optional[_Iterable[_Union[StringList, _Mapping]]] = ...) -> None: ...

class ItemCoverage(_message.Message):
    __slots__ = ("used", "missing", "weight_covered")
    USED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_COVERED_FIELD_NUMBER: _ClassVar[int]
    used: ItemIds
    missing: ItemIds
    weight_covered: float
    def __init__(self, used: _Optional[_Union[ItemIds, _Mapping]] = ..., missing: _Optional[_Union[ItemIds, _Mapping]] = ..., weight_covered: _Optional[float] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue_us", "model_us", "search_us", "merge_us", "total_us")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    MODEL_US_FIELD_NUMBER: _ClassVar[int]
    SEARCH_US_FIELD_NUMBER: _ClassVar[int]
    MERGE_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    model_us: int
    search_us: int
    merge_us: int
    total_us: int
    def __init__(self, queue_us: _Optional[int] = ..., model_us: _Optional[int] = ..., search_us: _Optional[int] = ..., merge_us: _Optional[int] = ..., total_us: _Optional[int] = ...) -> None: ...

class BatchRecallRequest(_message.Message):
    __slots__ = ("service", "requests")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    service: str
    requests: _containers.RepeatedCompositeFieldContainer[RecallRequest]
    def __init__(self, service: _Optional[str] = ..., requests: _Optional[_Iterable[_Union[RecallRequest, _Mapping]]] = ...) -> None: ...

class BatchRecallResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchRecallResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchRecallResult, _Mapping]]] = ...) -> None: ...

class BatchRecallResult(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: RecallResponse
    error: RecallError
    def __init__(self, response: _Optional[_Union[RecallResponse, _Mapping]] = ..., error: _Optional[_Union[RecallError, _Mapping]] = ...) -> None: ...

class RecallError(_message.Message):
    __slots__ = ("code", "reason", "message", "field")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    field: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...

class GetItemsRequest(_message.Message):
    __slots__ = ("service", "items", "return_attributes", "return_vectors")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    RETURN_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    RETURN_VECTORS_FIELD_NUMBER: _ClassVar[int]
    service: str
    items: ItemIds
    return_attributes: _containers.RepeatedScalarFieldContainer[str]
    return_vectors: bool
    def __init__(self, service: _Optional[str] = ..., items: _Optional[_Union[ItemIds, _Mapping]] = ..., return_attributes: _Optional[_Iterable[str]] = ..., return_vectors: _Optional[bool] = ...) -> None: ...

class GetItemsResponse(_message.Message):
    __slots__ = ("version", "ids", "text_ids", "attributes", "vectors", "missing")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_IDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    version: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    text_ids: _containers.RepeatedScalarFieldContainer[str]
    attributes: _containers.RepeatedCompositeFieldContainer[AttributeColumn]
    vectors: _containers.RepeatedCompositeFieldContainer[Vector]
    missing: ItemIds
    def __init__(self, version: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., text_ids: _Optional[_Iterable[str]] = ..., attributes: _Optional[_Iterable[_Union[AttributeColumn, _Mapping]]] = ..., vectors: _Optional[_Iterable[_Union[Vector, _Mapping]]] = ..., missing: _Optional[_Union[ItemIds, _Mapping]] = ...) -> None: ...

class CountItemsRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class CountItemsResponse(_message.Message):
    __slots__ = ("version", "items", "searchable_items")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_ITEMS_FIELD_NUMBER: _ClassVar[int]
    version: int
    items: int
    searchable_items: int
    def __init__(self, version: _Optional[int] = ..., items: _Optional[int] = ..., searchable_items: _Optional[int] = ...) -> None: ...

class GetServiceInfoRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class GetServiceInfoResponse(_message.Message):
    __slots__ = ("service", "schema", "live", "previous", "limits")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    service: str
    schema: Schema
    live: VersionInfo
    previous: VersionInfo
    limits: Limits
    def __init__(self, service: _Optional[str] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ..., live: _Optional[_Union[VersionInfo, _Mapping]] = ..., previous: _Optional[_Union[VersionInfo, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ...) -> None: ...

class Schema(_message.Message):
    __slots__ = ("id_type", "dimension", "metric", "normalize", "attributes", "query_model")
    ID_TYPE_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    QUERY_MODEL_FIELD_NUMBER: _ClassVar[int]
    id_type: str
    dimension: int
    metric: str
    normalize: bool
    attributes: _containers.RepeatedCompositeFieldContainer[Attribute]
    query_model: QueryModel
    def __init__(self, id_type: _Optional[str] = ..., dimension: _Optional[int] = ..., metric: _Optional[str] = ..., normalize: _Optional[bool] = ..., attributes: _Optional[_Iterable[_Union[Attribute, _Mapping]]] = ..., query_model: _Optional[_Union[QueryModel, _Mapping]] = ...) -> None: ...

class QueryModel(_message.Message):
    __slots__ = ("vectors", "inputs")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    vectors: int
    inputs: _containers.RepeatedCompositeFieldContainer[ModelInput]
    def __init__(self, vectors: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[ModelInput, _Mapping]]] = ...) -> None: ...

class ModelInput(_message.Message):
    __slots__ = ("name", "type", "max_length", "truncate", "has_vocabulary", "unknown")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    HAS_VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    max_length: int
    truncate: str
    has_vocabulary: bool
    unknown: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., max_length: _Optional[int] = ..., truncate: _Optional[str] = ..., has_vocabulary: _Optional[bool] = ..., unknown: _Optional[str] = ...) -> None: ...

class Attribute(_message.Message):
    __slots__ = ("name", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class VersionInfo(_message.Message):
    __slots__ = ("version", "model_version", "items")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    version: int
    model_version: str
    items: int
    def __init__(self, version: _Optional[int] = ..., model_version: _Optional[str] = ..., items: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("qps", "concurrency", "max_top_k", "max_ef", "allow_exact")
    QPS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_TOP_K_FIELD_NUMBER: _ClassVar[int]
    MAX_EF_FIELD_NUMBER: _ClassVar[int]
    ALLOW_EXACT_FIELD_NUMBER: _ClassVar[int]
    qps: float
    concurrency: int
    max_top_k: int
    max_ef: int
    allow_exact: bool
    def __init__(self, qps: _Optional[float] = ..., concurrency: _Optional[int] = ..., max_top_k: _Optional[int] = ..., max_ef: _Optional[int] = ..., allow_exact: _Optional[bool] = ...) -> None: ...
