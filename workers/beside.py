"""An index that is made at a server is made beside what is served there: who that is, where to go, what they notice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from catalog.models import Service
from engines import registry
from versions.groups import other_members_of, under_way
from versions.models import Version
from versions.neighbours import is_live, versions_beside
from versions.traffic import percentiles_of
from workers.places import index_of, indexes_under_way, places_of

# What the neighbours' p99 during a build is compared with.
BEFORE_SECONDS = 3_600
# Fewer calls than this, before or during it, say nothing about a p99.
CALLS_MIN = 100


@dataclass(frozen=True)
class Beside:
    """What is loaded at servers while an index is made for `service`, the most needed first."""

    service: Service
    versions: tuple[Version, ...]

    @property
    def indexes(self) -> tuple[str, ...]:
        return tuple(str(index_of(version)) for version in self.versions)

    @property
    def together(self) -> tuple[str, ...]:
        """Where its group's builds are made, unless something of the group is live there."""
        others = other_members_of(self.service)
        group = {self.service.pk, *(member.pk for member in others)}
        live = places_of(version for version in self.versions if is_live(version) and version.service_id in group)
        moving = indexes_under_way(under_way(others))
        return tuple(str(index) for index in moving if not registry.places_of(index) & live)


def look(service: Service) -> Beside:
    return Beside(service, tuple(versions_beside(service)))


def report(beside: Beside, index: Path, *, since: datetime) -> dict[str, Any]:
    """What is live where `index` was made, and the p99 of the team's own services there and in the group.

    Empty for an index that is its files. Of other teams' services nothing is told but their number.
    """
    places = registry.places_of(index)
    if not places:
        return {}
    there = [version for version in beside.versions if is_live(version) and places_of([version]) & places]
    own = {version.service for version in there if version.service.tenant_id == beside.service.tenant_id}
    watched = sorted({*own, *other_members_of(beside.service)}, key=lambda service: service.name)
    return {
        "own_live_here": beside.service in own,
        "others_live_here": sum(version.service_id != beside.service.pk for version in there),
        "p99": _p99(watched, own, since),
    }


def sentences(told: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    said = []
    if told.get("own_live_here"):
        said.append(
            "The index was made at the server that serves the live version, whose searches may have been slower."
        )
    if count := told.get("others_live_here"):
        what = "a live version of another service" if count == 1 else f"live versions of {count} other services"
        said.append(f"The index was made at a server that serves {what}, whose p99 may have suffered.")
    return [*said, *map(_p99_text, told.get("p99", ()))]


def _p99(services: Iterable[Service], here: set[Service], since: datetime) -> list[dict[str, Any]]:
    """Of those that were asked enough to tell."""
    services = list(services)
    before = percentiles_of(services, since - timedelta(seconds=BEFORE_SECONDS), since)
    during = percentiles_of(services, since, timezone.now())
    return [
        {
            "service": service.name,
            "here": service in here,
            "p99_ms": during[service.pk].p99_ms,
            "p99_ms_before": before[service.pk].p99_ms,
            "calls": during[service.pk].calls,
        }
        for service in services
        if min((found[service.pk].calls if service.pk in found else 0) for found in (before, during)) >= CALLS_MIN
    ]


def _p99_text(told: Mapping[str, Any]) -> str:
    where = "at that server" if told["here"] else "elsewhere"
    return (
        f"While it was made, p99 of {told['service']} ({where}) was {told['p99_ms']:g} ms over {told['calls']:,} "
        f"calls, and {told['p99_ms_before']:g} ms in the hour before."
    )
