"""What the gateway's statuses mean to the control plane."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from common.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    QuotaExceeded,
    RecallError,
    Unavailable,
)

log = logging.getLogger(__name__)

ERROR_DOMAIN = "recall"

ERRORS: Mapping[grpc.StatusCode, type[RecallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: QuotaExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def error_of(call: grpc.RpcError) -> RecallError:
    """The control plane's error for a failed call, with the gateway's own words where it said some."""
    code, text = call.code(), call.details() or ""
    told = _told(call)
    if code is grpc.StatusCode.PERMISSION_DENIED:
        # The caller's right was checked here, so what the gateway lacks is the route.
        message = "The gateway does not know this service yet. Try again in a few seconds."
        return FailedPrecondition(message, reason="SERVICE_NOT_ROUTED")
    if code is grpc.StatusCode.UNAUTHENTICATED:
        log.error("The gateway refused the platform's token; both must have the same RECALL_INTERNAL_TOKEN and time.")
        return Unavailable("The gateway does not accept the platform's token.", reason="GATEWAY_REFUSES_PLATFORM")
    if told is None and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("The gateway did not answer in time.")
    if told is None and code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable("The gateway does not answer. Try again.", reason="GATEWAY_UNREACHABLE")
    if told is None or code not in ERRORS:
        # gRPC's own texts name addresses and are for the log.
        log.error("The gateway failed: %s %s", code, text)
        return RecallError(f"The gateway failed. {text if told else ''}".strip(), reason="GATEWAY_FAILED")
    return ERRORS[code](text, **told)


def _told(call: grpc.RpcError) -> dict[str, Any] | None:
    """Reason, field and details from the google.rpc.Status; None when the gateway did not write one."""
    status = rpc_status.from_call(call)
    if status is None:
        return None
    found: dict[str, Any] = {"details": []}
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for packed in status.details:
        if packed.Unpack(info) and info.domain == ERROR_DOMAIN:
            found["reason"] = info.reason
        elif packed.Unpack(bad):
            found["details"] += [{"field": one.field, "message": one.description} for one in bad.field_violations]
        elif packed.Unpack(retry):
            seconds = retry.retry_delay.ToTimedelta().total_seconds()
            found["details"].append({"retry_after_seconds": seconds})
    if found["details"] and "field" in found["details"][0]:
        found["field"] = found["details"][0]["field"]
    return found if "reason" in found else None
