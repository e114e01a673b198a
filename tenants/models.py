"""Business teams: their people, their machines' credentials, what they may use."""

from __future__ import annotations

import re

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models

from tenants.scoping import TenantScoped

NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z"
NAME_CHARACTERS_MAX = 63
valid_name = RegexValidator(NAME_PATTERN, "Use lower case letters, digits and hyphens; start with a letter.")


def is_valid_name(name: str) -> bool:
    """Whether a tenant or a service can have this name; asked before a name from outside goes to the database."""
    return bool(re.match(NAME_PATTERN, name))


class Tenant(models.Model):
    """A business team. `route_generation` rises with every change that gateways must hear of (keys, quota)."""

    name = models.CharField(max_length=63, unique=True, validators=[valid_name])
    title = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    route_generation = models.PositiveBigIntegerField(default=0)
    # A deleted tenant keeps its row and its name, so that nobody inherits its audit trail or its routes.
    deleted_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"


class Member(TenantScoped):
    """A person in a tenant. A platform administrator (`User.is_superuser`) stands above tenants."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="member_once_per_tenant")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.tenant}"


class Scope(models.TextChoices):
    """Each includes those before it."""

    READ = "read"
    WRITE = "write"
    MANAGE = "manage"


class ApiKey(TenantScoped):
    """A machine's credential. Only a digest is kept, under a pepper that is not Django's secret key."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="keys")
    # Empty: every service of the tenant. A name, because services live in a layer above.
    service = models.CharField(max_length=63, blank=True)
    name = models.CharField(max_length=100, blank=True)
    prefix = models.CharField(max_length=8, unique=True)
    # HMAC-SHA256 of the whole key, hex.
    digest = models.CharField(max_length=64)
    scope = models.CharField(max_length=10, choices=Scope.choices)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150)
    expires_at = models.DateTimeField(null=True, blank=True)
    # Right to the minute; `KeyUse` says on what and from where.
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    # Replaced by a newer key; this one still works until it expires.
    rotated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "key"

    def __str__(self) -> str:
        return f"rk_{self.prefix}_…"


class KeyUse(TenantScoped):
    """The first and the newest use of a key on one service, or, when `service` is empty, on the tenant itself."""

    tenant_path = "key__tenant"

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="uses")
    # A name, as in ApiKey.
    service = models.CharField(max_length=63, blank=True)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    # From where the newest use came, as the gateway or the console saw it; a proxy in between hides the caller.
    address = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "service"], name="key_use_once_per_service")]
        indexes = [models.Index(fields=["service", "first_at"], name="key_use_first")]

    def __str__(self) -> str:
        return f"{self.key} on {self.service or 'the tenant'}"


class Quota(models.Model):
    """What a tenant may use; enforced at creation, at admission of a build, and in the gateway."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="quota")
    services_max = models.PositiveIntegerField(default=20)
    items_max = models.PositiveBigIntegerField(default=20_000_000)
    memory_bytes_max = models.PositiveBigIntegerField(default=16 * 1024**3)
    qps_max = models.PositiveIntegerField(default=10_000)
    builds_at_once_max = models.PositiveIntegerField(default=2)

    def __str__(self) -> str:
        return f"quota of {self.tenant}"
