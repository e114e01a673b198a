"""The one table between our errors and gRPC's codes, and the google.rpc.Status that travels with them."""

from __future__ import annotations

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    GatewayError,
    InternalError,
    InvalidRequest,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

ERROR_DOMAIN = "recall"
STATUS_TRAILER = "grpc-status-details-bin"
RETRY_AFTER_SECONDS = 0.1

CODES: dict[type[GatewayError], int] = {
    InvalidRequest: code_pb2.INVALID_ARGUMENT,
    Unauthenticated: code_pb2.UNAUTHENTICATED,
    PermissionDenied: code_pb2.PERMISSION_DENIED,
    FailedPrecondition: code_pb2.FAILED_PRECONDITION,
    ResourceExhausted: code_pb2.RESOURCE_EXHAUSTED,
    Unavailable: code_pb2.UNAVAILABLE,
    DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    InternalError: code_pb2.INTERNAL,
}
GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: GatewayError) -> int:
    """A google.rpc.Code."""
    return next(code for kind, code in CODES.items() if isinstance(error, kind))


def status_of(error: GatewayError, request_id: str = "") -> status_pb2.Status:
    """The whole status: at most one of each detail, and for INTERNAL nothing but the request id."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if request_id:
        info.metadata["request_id"] = request_id
    status = status_pb2.Status(code=code_of(error), message=message_of(error, request_id))
    status.details.add().Pack(info)
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_seconds:
        delay = duration_pb2.Duration(nanos=0)
        delay.FromMicroseconds(int(error.retry_after_seconds * 1e6))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def error_of(code: int, *, reason: str, message: str, field: str) -> GatewayError:
    """The error that a replica named for one query; its words reach the caller unless the fault is ours."""
    if code == code_pb2.INVALID_ARGUMENT:
        return InvalidRequest(field, reason, message)
    if code == code_pb2.FAILED_PRECONDITION:
        return FailedPrecondition(reason, message, field=field)
    if code == code_pb2.RESOURCE_EXHAUSTED:
        return ResourceExhausted(reason, message, retry_after_seconds=RETRY_AFTER_SECONDS)
    if code == code_pb2.DEADLINE_EXCEEDED:
        return DeadlineExceeded()
    if code == code_pb2.UNAVAILABLE:
        return Unavailable(reason, message)
    return InternalError(f"replica: {code}: {reason}: {message}")


def message_of(error: GatewayError, request_id: str) -> str:
    """What people read; with a request id, by which the log can be asked, if there is one."""
    return f"{error.message}; request {request_id}" if request_id else error.message
