"""Whose turn it is: which build a free worker begins, and which one may take memory and disk next. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, QuerySet, Subquery, Window
from django.db.models.functions import Coalesce, RowNumber

from versions.models import Build, BuildStep, Replica
from versions.states import BuildState, ReplicaState, StepState

# The step after which the heavy work is done, and the one after which the version is in its nodes' memory.
BUILT, LOADED = "publish_artifact", "place_replicas"


@dataclass(frozen=True)
class Admission:
    """A running build's place in the line for memory and disk, and what it needs until it is loaded.

    `built`: the machine that built has its memory back. `placed`: nodes count it by themselves.
    """

    build: Build
    number: int
    need: dict[str, Any]
    built: bool
    placed: bool


def running_builds() -> QuerySet[Build]:
    """Those that count among `builds_at_once_max`: one that waits for its group keeps no other from beginning."""
    return Build.objects.filter(state=BuildState.RUNNING, parked=False)


def pending_in_turn() -> QuerySet[Any]:
    """Builds that nobody has begun, of tenants that have room for one more; the tenants take turns.

    A build stands behind as many others as its tenant has running, or waiting before it; so one tenant's many builds
    keep no other tenant waiting for more than the one that is running. `turn` counts each tenant's from 1.
    """
    running = running_builds().filter(service__tenant=OuterRef("service__tenant"))
    running_count = running.order_by().values("service__tenant").annotate(count=Count("pk")).values("count")
    turn = Window(RowNumber(), partition_by=F("service__tenant"), order_by=F("pk").asc())
    pending = Build.objects.filter(state=BuildState.PENDING).annotate(running=Coalesce(Subquery(running_count), 0))
    with_room = pending.filter(running__lt=F("service__tenant__quota__builds_at_once_max"))
    return with_room.annotate(turn=turn, rank=F("running") + turn).order_by("rank", "pk")


def in_turn_for(build_id: int) -> int:
    """Which build a worker begins that was rung for `build_id`: this one, unless another tenant has run less.

    Messages come in the order in which they were sent, and one tenant may have sent many.
    """
    build = Build.objects.select_related("service").filter(pk=build_id, state=BuildState.PENDING).first()
    first = pending_in_turn().select_related("service").first()
    if build is None or first is None or first.service.tenant_id == build.service.tenant_id:
        return build_id
    mine = running_builds().filter(service__tenant=build.service.tenant_id).count() + 1
    return first.pk if first.rank < mine else build_id


def admissions() -> list[Admission]:
    """Everybody in the line whose version is not loaded yet, first come first."""
    done = BuildStep.objects.filter(build=OuterRef("pk"), state=StepState.DONE)
    version = Replica.objects.filter(version__build=OuterRef("pk"), version__number=OuterRef("version_number"))
    waiting = Build.objects.filter(state=BuildState.RUNNING, context__has_key="admission").annotate(
        built=Exists(done.filter(name=BUILT)),
        placed=Exists(version.exclude(state__in=[ReplicaState.WITHDRAWN, ReplicaState.GONE])),
    )
    found = [
        Admission(each, **_place(each), built=each.built, placed=each.placed)
        for each in waiting.exclude(Exists(done.filter(name=LOADED))).select_related("service__tenant")
    ]
    return sorted(found, key=lambda each: each.number)


def _place(build: Build) -> dict[str, Any]:
    place: dict[str, Any] = build.context["admission"]
    return {name: place[name] for name in ("number", "need")}
