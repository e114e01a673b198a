"""Who calls: a machine by its key, or a person by the console's session. Both become one Caller."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.selectors import must_change_password
from common.addresses import client_address
from common.errors import PermissionDenied
from tenants.actions import key_used
from tenants.permissions import Caller, caller_of_key, caller_of_user
from tenants.selectors import key_verify

SCHEME = b"bearer"


class Machine(NamedTuple):
    """What stands where DRF expects a user when a key calls."""

    name: str
    is_authenticated: bool = True


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`. A bad key is refused even when a session would have been enough."""

    def authenticate(self, request: Request) -> tuple[Machine, Caller] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != SCHEME:
            return None
        key = key_verify(parts[1].decode("latin-1")) if len(parts) == 2 else None
        if key is None:
            raise AuthenticationFailed("The key is missing, unknown, expired or revoked.")
        origin = _origin(request)
        key_used(key=key, address=origin["address"])
        return Machine(str(key)), caller_of_key(key, **origin)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="recall"'


class ConsoleSession(SessionAuthentication):
    """The console's session cookie; writes also need its CSRF token in the header X-CSRFToken."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        found: Any = super().authenticate(request)
        if found is None:
            return None
        user: User = found[0]
        if must_change_password(user):
            message = "Somebody else knows your password. Sign in to the console and change it."
            raise PermissionDenied(message, reason="PASSWORD_CHANGE_REQUIRED")
        return user, caller_of_user(user, **_origin(request))


def caller_of(request: Request) -> Caller:
    """The Caller that authentication found; views that call this require one."""
    assert isinstance(request.auth, Caller)  # noqa: S101  (permission classes let nobody else in)
    return request.auth


def _origin(request: Request) -> dict[str, str]:
    return {"request_id": request.META.get("recall.request_id", ""), "address": client_address(request)}
