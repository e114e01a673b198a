"""What teams register: a service, and what it is asked to be."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from tenants.models import Tenant, valid_name
from tenants.scoping import TenantScoped


class Service(TenantScoped):
    """One recall service. Its live version is a pointer here, never a state of a version.

    Three counters, each only ever rising:
      spec_generation   with each change of the spec; part of a build's identity
      live_generation   with each activation; what an activation compares and sets
      route_generation  with each change that gateways must hear of (activation, replicas, limits)
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="services")
    name = models.CharField(max_length=63, validators=[valid_name])
    # The whole of CONTRACT section 2, validated by catalog.spec and stored with every default filled in.
    spec = models.JSONField()
    spec_generation = models.PositiveIntegerField(default=1)
    # The number of the live version; null until the first activation.
    live_version = models.PositiveIntegerField(null=True, blank=True)
    live_generation = models.PositiveIntegerField(default=0)
    route_generation = models.PositiveBigIntegerField(default=1)
    # Numbers of builds and versions are given out here, by UPDATE ... SET n = n + 1.
    builds_count = models.PositiveIntegerField(default=0)
    versions_count = models.PositiveIntegerField(default=0)
    # On hold: drops are noticed, nothing is activated by itself.
    held_at = models.DateTimeField(null=True, blank=True)
    held_reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150)
    # A deleted service leaves its row, so that its name's next owner starts from a newer generation.
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "name"], condition=Q(deleted_at__isnull=True), name="service_name_once_per_tenant"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"
