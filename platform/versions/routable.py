"""What a route names, said once: for the route, for the audit of what it names, and for people who ask."""

from __future__ import annotations

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet

from versions.models import Replica, Version
from versions.states import VersionState


def in_route(of: str = "") -> Q:
    """The live version, and those that were live, are hot and not marked bad; none where nothing is live.

    `of` leads to the version, as in `version__`.
    """
    service = f"{of}service__"
    named: dict[str, Any] = {
        f"{of}state": VersionState.READY,
        f"{of}activated_at__isnull": False,
        f"{of}cold_at__isnull": True,
        f"{service}deleted_at__isnull": True,
        f"{service}live_version__isnull": False,
    }
    is_live = Q(**{f"{of}number": F(f"{service}live_version")})
    return Q(**named) & (Q(**{f"{of}bad_at__isnull": True}) | is_live)


def with_route(replicas: QuerySet[Replica]) -> QuerySet[Replica]:
    """The same, each of which knows whether a route names its version: a list asks once for all of them."""
    return replicas.annotate(in_route=ExpressionWrapper(in_route("version__"), output_field=BooleanField()))


def is_version_in_route(replica: Replica) -> bool:
    known: bool | None = getattr(replica, "in_route", None)
    return Version.objects.filter(in_route(), pk=replica.version_id).exists() if known is None else bool(known)
