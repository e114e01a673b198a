"""What a route names, said once: for the route, for the audit of what it names, and for people who ask."""

from __future__ import annotations

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet

from catalog.models import Service
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


def rolled_back_numbers(service: Service) -> list[int]:
    """Of the versions that were rolled back and can be activated again: no route names them, loaded or not.

    Without a live version nothing answers, so none is told.
    """
    if service.live_version is None:
        return []
    bad = Version.objects.of(service.tenant).filter(service=service, state=VersionState.READY, bad_at__isnull=False)
    return list(bad.exclude(number=service.live_version).order_by("-number").values_list("number", flat=True))


def noting_route(replicas: QuerySet[Replica]) -> QuerySet[Replica]:
    """The same replicas, each with `version_in_route`, so that a list of them asks the database once."""
    return replicas.annotate(version_in_route=ExpressionWrapper(in_route("version__"), output_field=BooleanField()))


def is_in_route(replica: Replica) -> bool:
    """As its query noted it, else as the database says now."""
    noted: bool | None = getattr(replica, "version_in_route", None)
    return Version.objects.filter(in_route(), pk=replica.version_id).exists() if noted is None else noted
