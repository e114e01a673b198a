"""What a caller may be told instead of an answer; protocol-neutral, mapped to statuses in `statuses`.

GatewayError
  InvalidRequest       the request can never be right; `field` names the part at fault
  Unauthenticated      no key, or one that is unknown, expired or revoked; nobody can tell which
  PermissionDenied     a foreign service, an unknown one, or a key that is not for it; one text for all
  FailedPrecondition   right request, wrong moment: no live version, version or model not loaded
  ResourceExhausted    quota or overload; `retry_after_seconds` says when to come again
  Unavailable          no replica answers just now; the only one that is worth a retry at once
    ReplicaLost        one replica did not answer; the data plane tries once more before it says so
    ReplyFull          the answer found no room in a call's reply; the queue asks again, and no caller hears it
  DeadlineExceeded     the caller's deadline passed
  InternalError        our fault; `cause` goes to the log and never to the caller
"""

from __future__ import annotations


class GatewayError(Exception):
    """Base of all. `reason` is UPPER_SNAKE and stable, `message` is for people."""

    retry_after_seconds = 0.0

    def __init__(self, reason: str, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


class InvalidRequest(GatewayError):
    def __init__(self, field: str, reason: str, message: str) -> None:
        super().__init__(reason, message, field=field)


class Unauthenticated(GatewayError):
    def __init__(self) -> None:
        message = "the key is missing, unknown, expired or revoked; send `authorization: Bearer <key>`"
        super().__init__("KEY_INVALID", message)


class PermissionDenied(GatewayError):
    """Says nothing of the service, so that a foreign and an unknown one look the same."""

    def __init__(self) -> None:
        super().__init__("PERMISSION_DENIED", "permission denied on this service (or it might not exist)")


class FailedPrecondition(GatewayError):
    pass


class ResourceExhausted(GatewayError):
    def __init__(self, reason: str, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(reason, message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(GatewayError):
    retry_after_seconds = 0.2


class ReplicaLost(Unavailable):
    def __init__(self) -> None:
        super().__init__("REPLICA_LOST", "the replica did not answer; try again")


class ReplyFull(Unavailable):
    """`room` is how many answers the reply did hold, 1 or more."""

    def __init__(self, room: int) -> None:
        super().__init__("REPLY_FULL", "the answers of other queries filled the reply; try again")
        self.room = room


class DeadlineExceeded(GatewayError):
    def __init__(self) -> None:
        super().__init__("DEADLINE_EXCEEDED", "the deadline passed before there was an answer")


class InternalError(GatewayError):
    def __init__(self, cause: str) -> None:
        super().__init__("INTERNAL", "internal error")
        self.cause = cause
