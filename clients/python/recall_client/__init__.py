"""Thin, typed client of the recall gateway.

from recall_client import Client

with Client("127.0.0.1:50051", key, service="films/similar") as recall:
    answer = recall.recall(vector, top_k=100)
"""

from recall_client.aio import AsyncClient
from recall_client.client import Client
from recall_client.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PermissionDenied,
    RecallError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from recall_client.queries import FeatureQuery, ItemQuery, Query, WeightedItem
from recall_client.requests import Options
from recall_client.results import (
    Answer,
    Coverage,
    Items,
    ItemsCount,
    Limits,
    ModelInput,
    QueryModel,
    Schema,
    ServiceInfo,
    Timings,
    VersionInfo,
)

__all__ = [
    "Answer",
    "AsyncClient",
    "Cancelled",
    "Client",
    "Coverage",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FeatureQuery",
    "Internal",
    "InvalidArgument",
    "ItemQuery",
    "Items",
    "ItemsCount",
    "Limits",
    "ModelInput",
    "Options",
    "PermissionDenied",
    "Query",
    "QueryModel",
    "RecallError",
    "ResourceExhausted",
    "Schema",
    "ServiceInfo",
    "Timings",
    "Unauthenticated",
    "Unavailable",
    "VersionInfo",
    "WeightedItem",
]
