"""What can go wrong with a call, as exceptions with the server's stable reason.

RecallError                 reason, message, field, request_id
+-- InvalidArgument         the request can never be right; `field` says which part
+-- Unauthenticated         no key, or a wrong, expired or revoked one
+-- PermissionDenied        unknown service, or another tenant's: one and the same
+-- FailedPrecondition      no live version, or the required version or model is not loaded
+-- ResourceExhausted       a quota or overload; `retry_after_seconds` says when to come back
+-- Unavailable             no endpoint could be reached or would answer; the only one that is retried
+-- DeadlineExceeded        the deadline passed; never retried
+-- Cancelled               the caller went away
+-- Internal                the platform's fault; `request_id` is what to tell its people
"""

from __future__ import annotations

import grpc

from recall_client.details import Details, read_details

CLOSED = "the client was closed"
# gRPC itself refuses a message that is longer than the server takes, before the platform sees it, with the code of an
# overload; but it can never be right.
TOO_LARGE = "SERVER: Received message larger than max"
REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"


class RecallError(Exception):
    """Base of all. `reason` is UPPER_SNAKE and stable; `field` is the request's field at fault, or empty."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        request_id: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        where = f" (field {self.field})" if self.field else ""
        return f"{self.reason or type(self).__name__}: {self.message}{where}"


class InvalidArgument(RecallError):
    """The request can never be right; `field` says which part."""


class Unauthenticated(RecallError):
    """No key, or a wrong, expired or revoked one."""


class PermissionDenied(RecallError):
    """Unknown service, or another tenant's; nobody can tell which."""


class FailedPrecondition(RecallError):
    """Right call, wrong moment: no live version, or the required version or model is not loaded."""


class ResourceExhausted(RecallError):
    """A quota or overload; `retry_after_seconds` says when to come back."""


class Unavailable(RecallError):
    """No endpoint could be reached or would answer, also after the retries."""


class DeadlineExceeded(RecallError):
    """The deadline passed."""


class Cancelled(RecallError):
    """The call was cancelled on this side."""


class Internal(RecallError):
    """The platform's fault; `request_id` is what to tell its people."""


CLASSES: dict[int, type[RecallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT.value[0]: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE.value[0]: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED.value[0]: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED.value[0]: PermissionDenied,
    grpc.StatusCode.NOT_FOUND.value[0]: PermissionDenied,
    grpc.StatusCode.FAILED_PRECONDITION.value[0]: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE.value[0]: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: DeadlineExceeded,
    grpc.StatusCode.CANCELLED.value[0]: Cancelled,
}


def from_call(error: grpc.RpcError) -> RecallError:
    """The exception for a call that ended with a status."""
    message = error.details() or ""
    if message.startswith(TOO_LARGE):
        sizes = message.removeprefix(TOO_LARGE).strip()
        return InvalidArgument(f"the gateway takes no request of so many bytes {sizes}", reason=REQUEST_TOO_LARGE)
    return from_code(error.code().value[0], message, read_details(error.trailing_metadata()))


def from_code(code: int, message: str, details: Details) -> RecallError:
    kind = CLASSES.get(code, Internal)
    return kind(
        message,
        reason=details.reason,
        field=details.field,
        request_id=details.request_id,
        retry_after_seconds=details.retry_after_seconds,
    )
