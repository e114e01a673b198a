"""Many services at a glance: is anything wrong? The number of queries does not grow with the number of services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from alerts.selectors import in_trouble
from catalog.models import Service
from versions.models import Activation, Build, Version
from versions.states import BuildState, VersionState
from versions.traffic import Load, loads_of

# What lists show of a version and of a build; the rest may be megabytes of report.
VERSION_FIELDS = ("service_id", "number", "items", "engine", "recall", "p99_ms", "completed_at")
BUILD_FIELDS = ("service_id", "number", "state", "requested_at", "ended_at", "error_message")


@dataclass(frozen=True)
class Overview:
    """One service in one line. `status`: wrong, failed, held, building, live or empty, the gravest that holds.

    `live_since` is when its live version was switched to; `load` is None when nobody called lately.
    """

    service: Service
    status: str
    live: Version | None
    live_since: datetime | None
    last_build: Build | None
    load: Load | None


def overviews(services: Sequence[Service]) -> list[Overview]:
    """In the order given."""
    keys = [service.pk for service in services]
    ready = Version.objects.filter(service__in=keys, number=F("service__live_version"), state=VersionState.READY)
    live = {version.service_id: version for version in ready.only(*VERSION_FIELDS)}
    switches = Activation.objects.filter(service__in=keys, live_generation=F("service__live_generation"))
    since = dict(switches.values_list("service_id", "at"))
    # Numbers are given out by counting up, so that the newest build bears the count.
    newest = Build.objects.filter(service__in=keys, number=F("service__builds_count"))
    builds = {build.service_id: build for build in newest.only(*BUILD_FIELDS)}
    loads, troubled = loads_of(services), in_trouble(keys)
    return [
        Overview(
            service=service,
            status="wrong" if service.pk in troubled else _status(service, builds.get(service.pk)),
            live=live.get(service.pk),
            live_since=since.get(service.pk) if service.live_version else None,
            last_build=builds.get(service.pk),
            load=loads.get(service.pk),
        )
        for service in services
    ]


def _status(service: Service, last_build: Build | None) -> str:
    state = last_build.state if last_build else ""
    if state == BuildState.FAILED:
        return "failed"
    if service.held_at or state == BuildState.HELD:
        return "held"
    if state in (BuildState.PENDING, BuildState.RUNNING):
        return "building"
    return "live" if service.live_version else "empty"
