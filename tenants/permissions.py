"""Who may do what: one table for roles, one for scopes, one question.

A tenant that is not the caller's at all answers as if it did not exist; one that is, but in which the caller's role is
too low, says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from common.actor import Actor
from common.errors import NotFound, PermissionDenied
from tenants.models import ApiKey, Member, Role, Scope, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class Permission(StrEnum):
    """What can be done. VIEW looks, QUERY asks the service, the rest change something."""

    VIEW = "view"
    QUERY = "query"
    WRITE_ITEMS = "write_items"
    # Ask for a build, cancel it, try it again.
    BUILD = "build"
    # Activate, roll back, hold, override a guard.
    OPERATE = "operate"
    # Services, keys and members.
    MANAGE = "manage"
    # Tenants, quotas and nodes; never of a tenant, always of the platform.
    ADMIN = "admin"


_LOOK = frozenset({Permission.VIEW, Permission.QUERY})
_OPERATE = _LOOK | {Permission.WRITE_ITEMS, Permission.BUILD, Permission.OPERATE}
_OWN = _OPERATE | {Permission.MANAGE}

ROLES: Mapping[str, frozenset[Permission]] = {Role.VIEWER: _LOOK, Role.OPERATOR: _OPERATE, Role.OWNER: _OWN}
SCOPES: Mapping[str, frozenset[Permission]] = {
    Scope.READ: _LOOK,
    Scope.WRITE: _LOOK | {Permission.WRITE_ITEMS},
    Scope.MANAGE: _OWN,
}
EVERYTHING = frozenset(Permission)


@dataclass(frozen=True)
class Caller:
    """Who asks, and what they hold: a person's roles by tenant name, or one key's tenant, scope and service."""

    actor: Actor
    tenant_roles: Mapping[str, str] = field(default_factory=dict)
    is_admin: bool = False
    key_tenant: str = ""
    key_scope: str = ""
    # Empty: every service of the key's tenant.
    key_service: str = ""
    key_prefix: str = ""

    def permissions_in(self, tenant: Tenant) -> frozenset[Permission]:
        """Everything this caller may do in `tenant`; empty when the tenant is not theirs."""
        if self.is_admin:
            return EVERYTHING
        if self.key_tenant:
            return SCOPES[self.key_scope] if self.key_tenant == tenant.name else frozenset()
        role = self.tenant_roles.get(tenant.name)
        return ROLES[role] if role else frozenset()


def caller_of_user(user: User | AnonymousUser, *, request_id: str = "", address: str = "") -> Caller:
    """Reads the person's roles as they are now, so that a change of role applies to the next request."""
    actor = Actor(kind="user", name=user.get_username(), request_id=request_id, address=address)
    if not user.is_active:
        return Caller(actor=actor)
    living = Member.objects.filter(user_id=user.pk, tenant__deleted_at__isnull=True)
    roles = dict(living.values_list("tenant__name", "role"))
    return Caller(actor=actor, tenant_roles=roles, is_admin=user.is_superuser)


def caller_of_key(key: ApiKey, *, request_id: str = "", address: str = "") -> Caller:
    """A caller for a key that `selectors.key_verify` has accepted."""
    actor = Actor(kind="key", name=f"key:{key.prefix}", request_id=request_id, address=address)
    return Caller(
        actor=actor,
        key_tenant=key.tenant.name,
        key_scope=key.scope,
        key_service=key.service,
        key_prefix=key.prefix,
    )


def require(caller: Caller, permission: Permission, tenant: Tenant, service_name: str = "") -> None:
    """Passes when `caller` may do this in `tenant`, to its service `service_name` or, when empty, to the tenant itself.

    Raises NotFound when the tenant, or to a key of one service another service, is not the caller's at all;
    PermissionDenied when it is but the role or scope does not allow this.
    """
    held = caller.permissions_in(tenant)
    if not held:
        raise tenant_not_found()
    if caller.key_service and service_name and service_name != caller.key_service:
        raise service_not_found()
    if permission not in held:
        raise PermissionDenied(_what_is_missing(caller, permission, tenant))
    if caller.key_service and not service_name:
        raise PermissionDenied(
            f"This key is for the service {caller.key_service} only. Use a key of the whole tenant.",
            reason="KEY_OF_ONE_SERVICE",
        )


def require_admin(caller: Caller) -> None:
    """Raises PermissionDenied unless the caller is a platform administrator."""
    if not caller.is_admin:
        raise PermissionDenied("This is for platform administrators.")


def is_allowed(caller: Caller, permission: Permission, tenant: Tenant, service_name: str = "") -> bool:
    """The same question for pages that show or hide a button."""
    try:
        require(caller, permission, tenant, service_name)
    except (NotFound, PermissionDenied):
        return False
    return True


def tenant_not_found() -> NotFound:
    return NotFound("No such tenant (or it is not yours).", reason="TENANT_NOT_FOUND")


def service_not_found() -> NotFound:
    return NotFound("No such service (or it is not yours).", reason="SERVICE_NOT_FOUND")


def _what_is_missing(caller: Caller, permission: Permission, tenant: Tenant) -> str:
    if permission is Permission.ADMIN:
        return "This is for platform administrators."
    if caller.key_tenant:
        needed = next(scope for scope, held in SCOPES.items() if permission in held)
        return f"This needs a key of scope {needed}; this one has scope {caller.key_scope}."
    needed = next(role for role, held in ROLES.items() if permission in held)
    role = caller.tenant_roles[tenant.name]
    return f"This needs the role {needed} in {tenant.name}; you are its {role}. Ask an owner of {tenant.name}."
