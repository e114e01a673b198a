from recallpb.v1 import recall_pb2 as _recall_pb2
from recallpb.internal.v1 import documents_pb2 as _documents_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUICK: _ClassVar[Lane]
    COSTLY: _ClassVar[Lane]
QUICK: Lane
COSTLY: Lane

class AnswerRequest(_message.Message):
    __slots__ = ("requests", "deadlines_ms", "queued_us", "version")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_US_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedScalarFieldContainer[bytes]
    deadlines_ms: _containers.RepeatedScalarFieldContainer[int]
    queued_us: _containers.RepeatedScalarFieldContainer[int]
    version: int
    def __init__(self, requests: _Optional[_Iterable[bytes]] = ..., deadlines_ms: _Optional[_Iterable[int]] = ..., queued_us: _Optional[_Iterable[int]] = ..., version: _Optional[int] = ...) -> None: ...

class AnswerResponse(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[Answer]
    def __init__(self, answers: _Optional[_Iterable[_Union[Answer, _Mapping]]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: bytes
    error: _recall_pb2.RecallError
    def __init__(self, response: _Optional[bytes] = ..., error: _Optional[_Union[_recall_pb2.RecallError, _Mapping]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("replica_id", "tenant", "service", "version", "items", "searchable_items", "rss_bytes", "pid", "manifest_sha256")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SEARCHABLE_ITEMS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    tenant: str
    service: str
    version: int
    items: int
    searchable_items: int
    rss_bytes: int
    pid: int
    manifest_sha256: str
    def __init__(self, replica_id: _Optional[str] = ..., tenant: _Optional[str] = ..., service: _Optional[str] = ..., version: _Optional[int] = ..., items: _Optional[int] = ..., searchable_items: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., pid: _Optional[int] = ..., manifest_sha256: _Optional[str] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("answer", "get_items", "deadline_ms", "lane")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    GET_ITEMS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    answer: AnswerRequest
    get_items: bytes
    deadline_ms: int
    lane: Lane
    def __init__(self, answer: _Optional[_Union[AnswerRequest, _Mapping]] = ..., get_items: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ..., lane: _Optional[_Union[Lane, str]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("answer", "items", "error")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    answer: AnswerResponse
    items: bytes
    error: _recall_pb2.RecallError
    def __init__(self, answer: _Optional[_Union[AnswerResponse, _Mapping]] = ..., items: _Optional[bytes] = ..., error: _Optional[_Union[_recall_pb2.RecallError, _Mapping]] = ...) -> None: ...

class BatchParts(_message.Message):
    __slots__ = ("service", "requests")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    service: str
    requests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, service: _Optional[str] = ..., requests: _Optional[_Iterable[bytes]] = ...) -> None: ...
