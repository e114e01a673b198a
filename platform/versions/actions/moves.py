"""A build of a service has the others of its group built, too, so that all of them move together."""

from __future__ import annotations

from catalog.models import Service
from catalog.notices import MANUAL
from common.actor import Actor
from versions.actions.builds import build_request
from versions.actions.lines import say
from versions.groups import MOVE, other_members_of, under_way
from versions.models import Build
from versions.selectors import live_version


def group_follow(build: Build) -> list[Build]:
    """Asks for a build of each other member that has a live version and no build under way; in the transaction of
    `build`, which has locked their services.

    A build that was asked for in this way asks for nobody, so that no move leads to another one.
    """
    if MOVE in build.context:
        return []
    members = [member for member in other_members_of(build.service) if member.live_version is not None]
    busy = set(under_way(members).values_list("service_id", flat=True))
    actor = Actor(kind="system", name=f"move with build {build.number} of {build.service.name}")
    move = {"service": build.service.name, "build": build.number}
    asked = []
    for member in members:
        if member.pk not in busy:
            drop = _drop_of_live(member) if member.spec["source"]["notice"] == MANUAL else ""
            asked.append(build_request(actor=actor, service=member, drop=drop, force=True, move=move))
    if asked:
        told = ", ".join(f"build {each.number} of {each.service.name}" for each in asked)
        say(build.pk, f"Its group moves with it: asks for {told}.")
    return asked


def _drop_of_live(service: Service) -> str:
    """Where people choose which drop is built, a move builds the one that they chose, and no newer one."""
    live = live_version(service)
    return live.build.drop_name if live else ""
