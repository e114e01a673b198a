"""Services that move together (`versions.group`): who is in a group, and how far the others' builds are. Reads only.

A build asks for builds of the others of its group, and waits for them before its switch; see docs/adr/0019.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q, QuerySet

from catalog.models import Service
from versions.models import Build, BuildStep, Version
from versions.states import BUILD_FINAL, BUILD_UNFINISHED, DUPLICATE, BuildState, StepState

# Why a build is held whose group is not complete; it goes on by itself once it may be.
GROUP_INCOMPLETE = "group.incomplete"
# The step before which a group waits, and where a build's context says that it stands there: since when it began.
GATE = "activate"
# In the context of a build that was asked for because another one of its group moves: that one's service and number.
MOVE = "move"


@dataclass(frozen=True)
class Others:
    """What a build of a group finds: builds that it waits for, and those that have stopped on their way."""

    awaited: Sequence[Build]
    stopped: Sequence[Build]

    @property
    def without(self) -> str:
        """The services that would be left behind, for people."""
        return ", ".join(build.service.name for build in self.stopped)


def group_of(service: Service) -> str | None:
    """A spec from before there were groups names none."""
    group: str | None = service.spec["versions"].get("group")
    return group


def members_of(service: Service) -> QuerySet[Service]:
    """The services that move together with `service`, itself among them, oldest first."""
    itself = Q(pk=service.pk)
    if group_of(service) is None:
        return Service.objects.filter(itself)
    same = Q(spec__versions__group=group_of(service), deleted_at__isnull=True)
    return Service.objects.of(service.tenant).filter(same | itself).order_by("pk")


def other_members_of(service: Service) -> list[Service]:
    return list(members_of(service).exclude(pk=service.pk).select_related("tenant"))


def others_of(build: Build) -> Others:
    """How far the others' builds are that concern `build`: those under way, and what ended since it was asked for.

    Who has nothing live and nothing under way is not waited for; who failed to get something live at all, neither.
    """
    members = {member.pk: member for member in other_members_of(build.service)}
    if not members:
        return Others(awaited=(), stopped=())
    found = _last(under_way(members.values()).order_by("number"))
    ended = Build.objects.filter(service__in=members, state__in=BUILD_FINAL, ended_at__gte=build.requested_at)
    for key, last in _last(ended.exclude(error_reason=DUPLICATE).order_by("ended_at")).items():
        if last.state != BuildState.SUCCEEDED and members[key].live_version is not None:
            found.setdefault(key, last)
    builds = list(_with_steps(found.values()))
    return Others(
        awaited=[each for each in builds if _is_on_its_way(each) and not stands_at_the_gate(each)],
        stopped=[each for each in builds if not _is_on_its_way(each)],
    )


def under_way(services: Iterable[Service]) -> QuerySet[Build]:
    """Builds of these services that have not ended and have not made anything live."""
    made = Version.objects.filter(build=OuterRef("pk"), number=OuterRef("version_number"), activated_at__isnull=False)
    unfinished = Build.objects.filter(service__in=[service.pk for service in services], state__in=BUILD_UNFINISHED)
    return unfinished.exclude(Exists(made))


def stands_at_the_gate(build: Build) -> bool:
    """Whether it has passed everything but the wait for its group."""
    steps = list(build.steps.all())
    gate = next((step for step in steps if step.name == GATE), None)
    if build.state != BuildState.RUNNING or gate is None or gate.state != StepState.RUNNING or gate.started_at is None:
        return False
    is_through = all(step.state == StepState.DONE for step in steps if step.position < gate.position)
    return is_through and bool(build.context.get(GATE) == gate.started_at.isoformat())


def whereabouts(build: Build) -> str:
    """Where a build that others wait for is, for people."""
    what = f"build {build.number} of {build.service.name}"
    step = next((step for step in build.steps.all() if step.state == StepState.RUNNING), None)
    if step is None or build.state != BuildState.RUNNING:
        return f"{what}, which waits for a worker"
    return f"{what}, which is at {step.name}{_share(step)}"


def _is_on_its_way(build: Build) -> bool:
    """One that is held for its group's sake goes on by itself, and keeps nobody else."""
    if build.state == BuildState.HELD:
        return build.error_reason == GROUP_INCOMPLETE
    return build.state in BUILD_UNFINISHED


def _share(step: BuildStep) -> str:
    return "" if step.progress is None else f" ({step.progress:.0%})"


def _last(builds: QuerySet[Build]) -> dict[int, Build]:
    """Of each service, by its key."""
    return {build.service_id: build for build in builds}


def _with_steps(builds: Iterable[Build]) -> QuerySet[Build]:
    keys = [build.pk for build in builds]
    return Build.objects.filter(pk__in=keys).select_related("service").prefetch_related("steps").order_by("service")
