"""What teams register: a service, and what it is asked to be."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from catalog.states import DraftState
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


class Draft(TenantScoped):
    """A service that somebody is about to register: what they want, what lies in their source, the spec so far.

    Belongs to the tenant, so that whoever may register services can go on with it by its URL. Deleted after
    `expires_at`, whether it became a service or not.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="drafts")
    # Its name in the URL; random, so that it tells nothing of how many there are.
    token = models.CharField(max_length=32, unique=True)
    # As catalog.intents.Intent.
    intent = models.JSONField()
    # What was decided so far, as a spec with the fields that differ from the defaults.
    spec = models.JSONField()
    state = models.CharField(max_length=10, choices=DraftState.choices, default=DraftState.ASKED)
    # Rises with each question about the source: the answer to an older one is not taken.
    question = models.PositiveIntegerField(default=1)
    asked_at = models.DateTimeField()
    # How often this question was taken by a worker, and until when the last one may be at it.
    takes = models.PositiveSmallIntegerField(default=0)
    taken_until = models.DateTimeField(null=True, blank=True)
    # The answer: bundles.inspection.Inspection as a dict, or why there is none.
    inspection = models.JSONField(null=True, blank=True)
    problem_reason = models.CharField(max_length=100, blank=True)
    problem = models.TextField(blank=True)
    # The name of the service that it became.
    service = models.CharField(max_length=63, blank=True)
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["state", "asked_at"], name="draft_questions"),
            models.Index(fields=["expires_at"], name="draft_expiry"),
        ]

    def __str__(self) -> str:
        return f"draft {self.token} of {self.tenant}"
