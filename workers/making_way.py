"""Ends builds of an index at a server to which somebody has just gone back: what serves there goes first.

Looked for in the rows each second, so that a switch waits for none of this and none of it is lost. The platform's own
switches end nothing: a build has its index made where nobody is served and no other is under way, as far as there is
such a place, and what switches to another one's says so (`beside.at_switch`).
"""

from __future__ import annotations

import logging
from functools import partial

from django.db.models import F

from engines import registry
from versions import actions
from versions.models import Activation, Build, BuildStep, Version
from workers.places import builds_indexing, index_being_made, places_of
from workers.sweep import unless_moved

log = logging.getLogger(__name__)

# Builds and switches that one tick looks at.
ROWS_MAX = 200


def make_way() -> None:
    """Ends builds whose index is being made where a version serves that somebody made live since they began."""
    making = list(builds_indexing().select_related("build__service__tenant").order_by("started_at")[:ROWS_MAX])
    places = {step.pk: registry.places_of(index_being_made(step.build)) for step in making}
    making = [step for step in making if places[step.pk]]
    if not making:
        return
    for switch in _switches_since(making[0]):
        come = _places_come_to(switch)
        for step in making:
            if step.started_at and step.started_at <= switch.at and places[step.pk] & come:
                told = _message(step.build, switch)
                unless_moved(partial(actions.build_make_way, build=step.build, message=told))


def _switches_since(step: BuildStep) -> list[Activation]:
    """By people, and still what is live."""
    by_people = Activation.objects.filter(by_build=False, at__gte=step.started_at, service__deleted_at__isnull=True)
    live = by_people.filter(to_version=F("service__live_version"), live_generation=F("service__live_generation"))
    return list(live.select_related("service__tenant").order_by("pk")[:ROWS_MAX])


def _places_come_to(switch: Activation) -> frozenset[str]:
    """Where the service is served now and was not before: whoever was beside a build anyway ends none."""
    versions = Version.objects.filter(service=switch.service_id)
    come = places_of(versions.filter(number=switch.to_version))
    left = versions.filter(number=switch.from_version or 0)
    return come - places_of(left) if come else come


def _message(build: Build, switch: Activation) -> str:
    """Other teams' names are not for its readers."""
    remedy = "Ask for a new build: it looks for a place anew."
    if switch.service.tenant_id != build.service.tenant_id:
        who = "Another service"
    elif switch.service_id != build.service_id:
        who = f"The service {switch.service.name}"
    else:
        who = "This service"
    what = f"{who} went to a version by hand that is served where this index was being made, and would have been slow"
    return f"{what} until it was done. Nothing that is live has changed by the end of this build. {remedy}"
