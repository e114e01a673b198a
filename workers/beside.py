"""An index that is made at a server is made beside what is served there: who that is, where to go, what they notice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from catalog.models import Service
from engines import registry
from versions.groups import members_of, other_members_of, under_way
from versions.models import Build, Version
from versions.neighbours import is_live, versions_beside
from versions.states import BUILD_UNFINISHED
from versions.traffic import percentiles_of
from workers.places import BUILDS_MAX, builds_indexing, index_being_made, index_of, indexes_under_way, places_of

# What the neighbours' p99 during a build is compared with.
BEFORE_SECONDS = 3_600
# Fewer calls than this, before or during it, say nothing about a p99.
CALLS_MIN = 100


@dataclass(frozen=True)
class Beside:
    """What is loaded at servers while an index is made for `service`, the most needed first, and what is under way."""

    service: Service
    versions: tuple[Version, ...]
    # Indexes of other services' builds that have not ended.
    moving: tuple[Path, ...] = ()

    @property
    def indexes(self) -> tuple[str, ...]:
        """What others are making comes between what is live and what is only loaded: it will be live first."""
        live = [index_of(version) for version in self.versions if is_live(version)]
        loaded = [index_of(version) for version in self.versions if not is_live(version)]
        return tuple(map(str, [*live, *self.moving, *loaded]))

    @property
    def own(self) -> tuple[str, ...]:
        """The service's own live version, if it lies at a server."""
        live = (version for version in self.versions if is_live(version) and version.service_id == self.service.pk)
        return tuple(str(index_of(version)) for version in live)

    @property
    def together(self) -> tuple[str, ...]:
        """Where its group's builds are made, unless something of the group is live there."""
        others = other_members_of(self.service)
        group = {self.service.pk, *(member.pk for member in others)}
        live = places_of(version for version in self.versions if is_live(version) and version.service_id in group)
        moving = indexes_under_way(under_way(others))
        return tuple(str(index) for index in moving if not registry.places_of(index) & live)


def look(service: Service) -> Beside:
    """Who look within the same moment do not see each other: a place is known as soon as a folder names it."""
    others = Build.objects.filter(state__in=BUILD_UNFINISHED).exclude(service=service)
    # By their states' names: those that run, then those that wait to begin again, then those that are held.
    moving = indexes_under_way(others.order_by("-state", "pk"))
    return Beside(service, tuple(versions_beside(service)), tuple(moving))


def report(before: Beside, index: Path, *, since: datetime) -> dict[str, Any]:
    """What is or was live where `index` was made, who else is indexing there, and what the team's own services noticed.

    Looked at again, because others have switched meanwhile. p99 is told of the team's own services there and in the
    group. Empty for an index that is its files. Of other teams' services nothing is told but their number.
    """
    places = registry.places_of(index)
    if not places:
        return {}
    seen = {version.pk: version for version in [*before.versions, *look(before.service).versions] if is_live(version)}
    there = {version.service for version in seen.values() if places_of([version]) & places}
    own = {service for service in there if service.tenant_id == before.service.tenant_id}
    watched = sorted({*own, *other_members_of(before.service)}, key=lambda service: service.name)
    # Who moves together is made at one place on purpose.
    group = set(members_of(before.service).values_list("pk", flat=True))
    return {
        "own_live_here": before.service in own,
        "others_live_here": len(there - {before.service}),
        **building_here(before.service, places, but=group),
        "p99": _p99(watched, own, since),
    }


def building_here(service: Service, places: frozenset[str], *, but: Collection[int]) -> dict[str, Any]:
    """How many other services' indexes are being made at `places` just now, and which builds of the team's own."""
    steps = builds_indexing().exclude(build__service__in=but).select_related("build__service").order_by("pk")
    builds = [step.build for step in steps[:BUILDS_MAX]]
    there = [build for build in builds if registry.places_of(index_being_made(build)) & places]
    own = [build for build in there if build.service.tenant_id == service.tenant_id]
    return {
        "others_building_here": len({build.service_id for build in there}),
        "builds_here": [f"build {build.number} of {build.service.name}" for build in own],
    }


def at_switch(version: Version) -> dict[str, Any]:
    """Who is indexing where `version` is served from now on; empty when nobody is. Nobody's build is ended for it."""
    places = places_of([version])
    found = building_here(version.service, places, but={version.service_id}) if places else {}
    return found if found.get("others_building_here") else {}


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
    if told.get("others_building_here"):
        said.append(f"{_building_text(told)} Whichever goes live first is served where the other one is being made.")
    return [*said, *map(_p99_text, told.get("p99", ()))]


def switch_sentences(told: Mapping[str, Any]) -> list[str]:
    """What `at_switch` has found, for people."""
    return [f"{_building_text(told)} Until it is made, p99 here may suffer."] if told else []


def _building_text(told: Mapping[str, Any]) -> str:
    count = told["others_building_here"]
    what = "The index of another service is" if count == 1 else f"Indexes of {count} other services are"
    names = f" ({', '.join(told['builds_here'])})" if told["builds_here"] else ""
    return f"{what} being made at the same server{names}."


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
