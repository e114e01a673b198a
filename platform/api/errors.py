"""The one place where errors become HTTP: `{"error": {"code", "reason", "message", "details"}}`.

`code` is a name of google.rpc.Code, `reason` the stable word of what happened, `details` one {field, message} for each
fault of the input. A foreign and an unknown resource raise the same NotFound and so read the same, byte for byte.
What nobody foresaw leaves as INTERNAL with the request's id; its text goes to the log alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from common import errors

log = logging.getLogger(__name__)


class Status(NamedTuple):
    http: int
    code: str


# Searched from the top, so that a subclass stands before its base.
STATUSES: tuple[tuple[type[errors.RecallError], Status], ...] = (
    (errors.InvalidArgument, Status(400, "INVALID_ARGUMENT")),
    (errors.FailedPrecondition, Status(400, "FAILED_PRECONDITION")),
    (errors.PermissionDenied, Status(403, "PERMISSION_DENIED")),
    (errors.NotFound, Status(404, "NOT_FOUND")),
    (errors.Conflict, Status(409, "ABORTED")),
    (errors.QuotaExceeded, Status(429, "RESOURCE_EXHAUSTED")),
    (errors.DeadlineExceeded, Status(504, "DEADLINE_EXCEEDED")),
    (errors.Unavailable, Status(503, "UNAVAILABLE")),
)
INTERNAL = Status(500, "INTERNAL")
WHO_ARE_YOU = "Send a key as `Authorization: Bearer <key>`, or sign in to the console."
# A conflict whose reason ends so is about a name; every other is about time.
TAKEN = "_EXISTS"

# What DRF itself raises: HTTP status -> (code, reason).
FRAMEWORK: Mapping[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "MALFORMED_BODY"),
    401: ("UNAUTHENTICATED", "UNAUTHENTICATED"),
    403: ("PERMISSION_DENIED", "PERMISSION_DENIED"),
    404: ("NOT_FOUND", "PATH_NOT_FOUND"),
    405: ("UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
    406: ("INVALID_ARGUMENT", "NOT_ACCEPTABLE"),
    413: ("INVALID_ARGUMENT", "BODY_TOO_LARGE"),
    415: ("INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE"),
}


class BodyTooLarge(exceptions.APIException):
    status_code = 413


def handle(exc: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler: the answer for whatever a view raised."""
    if isinstance(exc, errors.RecallError):
        return _of_ours(exc)
    if isinstance(exc, exceptions.ValidationError):
        details = list(_faults(exc.detail))
        return answer(Status(400, "INVALID_ARGUMENT"), "INVALID_ARGUMENT", _summary(details), details)
    if isinstance(exc, exceptions.APIException):
        return _of_framework(exc)
    if isinstance(exc, Http404):
        return _of_framework(exceptions.NotFound("No such path."))
    if isinstance(exc, DjangoPermissionDenied):
        return _of_framework(exceptions.PermissionDenied())
    if isinstance(exc, RequestDataTooBig):
        return _of_framework(BodyTooLarge(f"At most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes are read."))
    if isinstance(exc, SuspiciousOperation):
        return _of_framework(exceptions.ParseError("The request is malformed."))
    if isinstance(exc, OperationalError):
        log.exception("The database did not answer")
        message = "The database does not answer just now; try again."
        return answer(Status(503, "UNAVAILABLE"), "DATABASE_UNAVAILABLE", message)
    return _of_the_unforeseen(exc, context)


def answer(
    status: Status,
    reason: str,
    message: str,
    details: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The envelope that every error of the API comes in."""
    body = {"error": {"code": status.code, "reason": reason, "message": message, "details": details or []}}
    return Response(body, status=status.http, headers=headers)


def _of_ours(exc: errors.RecallError) -> Response:
    details = exc.details or ([{"field": exc.field, "message": exc.message}] if exc.field else [])
    waits = [detail["retry_after_seconds"] for detail in details if "retry_after_seconds" in detail]
    headers = {"Retry-After": str(math.ceil(max(waits)))} if waits else {}
    return answer(_status(exc), exc.reason, exc.message, details, headers)


def _status(exc: errors.RecallError) -> Status:
    if isinstance(exc, errors.Conflict) and exc.reason.endswith(TAKEN):
        return Status(409, "ALREADY_EXISTS")
    return next((status for kind, status in STATUSES if isinstance(exc, kind)), INTERNAL)


def _of_framework(exc: exceptions.APIException) -> Response:
    code, reason = FRAMEWORK.get(exc.status_code, ("INVALID_ARGUMENT", "INVALID_ARGUMENT"))
    # DRF puts the WWW-Authenticate header on the exception, from the first authentication class.
    header = getattr(exc, "auth_header", "")
    headers = {"WWW-Authenticate": header} if header else {}
    message = WHO_ARE_YOU if isinstance(exc, exceptions.NotAuthenticated) else str(exc.detail)
    return answer(Status(exc.status_code, code), reason, message, headers=headers)


def _of_the_unforeseen(exc: Exception, context: Mapping[str, Any]) -> Response:
    request = context.get("request")
    request_id = request.META.get("recall.request_id", "") if request is not None else ""
    log.error("Request %s failed unforeseen", request_id, exc_info=exc)
    message = f"Something failed that should not; the log has it under request {request_id}."
    return answer(INTERNAL, "INTERNAL", message, [{"request_id": request_id}])


def _faults(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """Flattens DRF's nested detail to one {field, message} each, fields as `schema.attributes[2].name`."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _faults(inner, path if name == "non_field_errors" else f"{path}.{name}".lstrip("."))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list)
            yield from _faults(inner, f"{path}[{index}]" if nested else path)
    else:
        yield {"field": path, "message": str(detail)}


def _summary(details: list[dict[str, str]]) -> str:
    first = details[0] if details else {"field": "", "message": "The request is not valid."}
    more = f" ({len(details) - 1} more in details)" if len(details) > 1 else ""
    return (f"{first['field']}: {first['message']}" if first["field"] else first["message"]) + more
