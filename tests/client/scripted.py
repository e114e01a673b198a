"""A real gRPC server that answers by script: a test sees what the wire carries and what the client makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from recallpb.v1 import recall_pb2_grpc

Handler = Callable[[Any, grpc.ServicerContext], Any]


class Scripted(recall_pb2_grpc.RecallServiceServicer):
    """Answers every RPC with `handler`; keeps what it was asked."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.address = ""

    def Recall(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802  (gRPC's name)
        self.requests.append(request)
        self.metadata.append({entry.key: entry.value for entry in context.invocation_metadata()})
        return self.handler(request, context)

    BatchRecall = GetItems = CountItems = GetServiceInfo = Recall


@contextmanager
def serving(handler: Handler) -> Iterator[Scripted]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    scripted = Scripted(handler)
    recall_pb2_grpc.add_RecallServiceServicer_to_server(scripted, server)
    scripted.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield scripted
    finally:
        server.stop(0).wait()


def refuse(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str,
    field: str = "",
    request_id: str = "",
    retry_after_seconds: float = 0,
) -> None:
    """Ends the call with a google.rpc.Status as the gateway would."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain="recall")
    if request_id:
        info.metadata["request_id"] = request_id
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(info)
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_seconds:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(int(retry_after_seconds * 1e6))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    context.abort_with_status(rpc_status.to_status(status))
