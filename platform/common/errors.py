"""Errors of the control plane, protocol-neutral. Each interface maps them in one table of its own.

RecallError                 reason, message, field, details
+-- InvalidArgument         the caller's input; names the field
+-- NotFound                unknown or another tenant's: one and the same
+-- PermissionDenied        the role or scope does not allow it
+-- Conflict                the state moved meanwhile, or the name is taken
|   +-- StateConflict       a row is not in a state from which this transition goes
+-- FailedPrecondition      right call, wrong moment (no live version, nothing to roll back to)
+-- QuotaExceeded           a quota of the tenant; says limit and use
+-- Unavailable             a part that this needs is away; worth a retry
    +-- DeadlineExceeded    it did not answer in time
"""

from __future__ import annotations

from typing import Any


class RecallError(Exception):
    """Base of all. `reason` is UPPER_SNAKE and stable, `message` is for people and names the remedy."""

    default_reason = "ERROR"

    def __init__(
        self, message: str, *, reason: str = "", field: str = "", details: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field
        self.details = details or []


class InvalidArgument(RecallError):
    """Input that can never be right. `details` holds one {field, message} for each fault."""

    default_reason = "INVALID_ARGUMENT"


class NotFound(RecallError):
    """Unknown, or not the caller's to see; nobody can tell which."""

    default_reason = "NOT_FOUND"


class PermissionDenied(RecallError):
    default_reason = "PERMISSION_DENIED"


class Conflict(RecallError):
    default_reason = "CONFLICT"


class StateConflict(Conflict):
    """Another process got there first, or the row never was in a state from which this goes."""

    default_reason = "STATE_CONFLICT"


class FailedPrecondition(RecallError):
    default_reason = "FAILED_PRECONDITION"


class QuotaExceeded(RecallError):
    default_reason = "QUOTA_EXCEEDED"


class Unavailable(RecallError):
    default_reason = "UNAVAILABLE"


class DeadlineExceeded(Unavailable):
    default_reason = "DEADLINE_EXCEEDED"
