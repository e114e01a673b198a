"""Rows for tests, made the way the platform makes them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from catalog.actions import service_create
from catalog.models import Service
from common.actor import Actor
from tenants.actions import tenant_create
from tenants.models import Member, Role, Tenant

PASSWORD = "correct horse battery"
TESTER = Actor(kind="system", name="tests")


def make_user(username: str, *, admin: bool = False) -> User:
    user = User.objects.create_user(username, password=PASSWORD)
    if admin:
        user.is_superuser = True
        user.save()
    return user


def make_tenant(name: str, *, owner: User | None = None) -> Tenant:
    """A tenant with its default quota and, when given, its owner."""
    return tenant_create(actor=TESTER, name=name, owner=owner)


def make_member(tenant: Tenant, user: User, role: str = Role.VIEWER) -> Member:
    return Member.objects.create(tenant=tenant, user=user, role=role)


def make_spec(name: str = "movies", **blocks: Any) -> dict[str, Any]:
    """A spec as a user writes it: 4 dimensions, inner product, exact search. `blocks` replace whole blocks."""
    spec: dict[str, Any] = {
        "name": name,
        "schema": {"dimension": 4, "metric": "ip"},
        "source": {"uri": f"file:{name}/"},
        "engine": "flat",
    }
    return {**spec, **blocks}


def make_service(tenant: Tenant, name: str = "movies", *, actor: Actor = TESTER, **blocks: Any) -> Service:
    return service_create(actor=actor, tenant=tenant, spec=make_spec(name, **blocks))
