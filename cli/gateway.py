"""Reaching a service over gRPC: which gateway, which key, which full name, and gRPC's errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.api import open_api
from cli.connection import connect
from cli.errors import (
    EXIT_DENIED,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    CliError,
)

if TYPE_CHECKING:
    from recall_client import RecallError

# Longer than the client's own, because a person waits and not a page.
DEADLINE_MS = 10_000
# The gateway's reason -> what to do; `service` is tenant/name.
REMEDIES = {
    "KEY_INVALID": "Check RECALL_API_KEY.",
    "PERMISSION_DENIED": "Is {service} right, and is the key of that tenant?",
    "NO_LIVE_VERSION": "`recall build {service}` makes one.",
    "VERSION_NOT_LOADED": "`recall versions {service}` shows which are loaded.",
    "VERSION_ROLLED_BACK": "`recall activate {service} N` makes it good and live again.",
    "MODEL_VERSION_NOT_LOADED": "`recall versions {service} --json` names the models of all.",
}


@dataclass(frozen=True)
class Target:
    """`service` is tenant/name."""

    gateway: str
    key: str
    service: str


def find_target(service: str, tenant: str = "") -> Target:
    """Asks REST only for what the configuration does not say. Raises CliError."""
    connection = connect()
    key = connection.key_or_error()
    owner, slash, name = service.rpartition("/")
    tenant = owner if slash else tenant or connection.tenant or open_api().tenant()
    gateway = connection.gateway or open_api().get(f"/discovery/{tenant}/{name}")["gateway"]
    return Target(gateway=str(gateway), key=key, service=f"{tenant}/{name}")


@contextmanager
def grpc_errors(target: Target) -> Iterator[None]:
    """Turns the client's errors into CliError."""
    from recall_client import RecallError

    try:
        yield
    except RecallError as error:
        raise _told(error, target) from error


def _told(error: RecallError, target: Target) -> CliError:
    from recall_client import InvalidArgument, PermissionDenied, Unauthenticated

    exit_codes = {InvalidArgument: EXIT_USAGE, PermissionDenied: EXIT_DENIED, Unauthenticated: EXIT_DENIED}
    exit_code = EXIT_UNREACHABLE if _is_unanswered(error) else exit_codes.get(type(error), EXIT_FAILED)
    return CliError(
        error.message, reason=error.reason, field=error.field, remedy=_remedy(error, target), exit_code=exit_code
    )


def _remedy(error: RecallError, target: Target) -> str:
    """What to do about it, where that is not what the message says."""
    from recall_client import Unavailable

    if _is_unanswered(error):
        return f"The gateway is {target.gateway}; is it right (RECALL_GATEWAY)?"
    if isinstance(error, Unavailable):
        tenant, _, name = target.service.rpartition("/")
        return f"`recall alerts --service {name} --tenant {tenant}` tells what is wrong."
    if error.retry_after_seconds:
        return f"Come again in {error.retry_after_seconds:.1f} s."
    return REMEDIES.get(error.reason, "").format(service=target.service)


def _is_unanswered(error: RecallError) -> bool:
    """Whether no gateway has answered: each of its refusals names a reason, and one that gRPC makes up has none."""
    from recall_client import DeadlineExceeded, Unavailable

    return isinstance(error, Unavailable | DeadlineExceeded) and not error.reason
