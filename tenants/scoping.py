"""The only door to a tenant's rows.

Every model that belongs to a tenant takes its manager from here and is read with `.of(tenant)`; what another tenant
owns is not found, and nobody can tell it from what does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from django.db import models

from common.errors import NotFound

if TYPE_CHECKING:
    from tenants.models import Tenant

ModelT = TypeVar("ModelT", bound=models.Model, covariant=True)


class TenantScopedQuerySet(models.QuerySet[ModelT]):
    """Rows that belong to tenants; the model says by `tenant_path` how its tenant is reached."""

    def of(self, tenant: Tenant) -> Self:
        path: str = self.model.tenant_path  # type: ignore[attr-defined]
        return self.filter(**{path: tenant})

    def of_or_404(self, tenant: Tenant, **lookup: Any) -> ModelT:
        """The one row of `tenant` that matches. Raises NotFound with the same words for unknown and foreign."""
        row = self.of(tenant).filter(**lookup).first()
        if row is None:
            noun = self.model._meta.verbose_name
            reason = f"{self.model.__name__.upper()}_NOT_FOUND"
            raise NotFound(f"No such {noun} (or it is not yours).", reason=reason)
        return row


class TenantScoped(models.Model):
    """Base of every model that belongs to a tenant."""

    tenant_path: ClassVar[str] = "tenant"

    objects = TenantScopedQuerySet.as_manager()

    class Meta:
        abstract = True
