"""Reads of builds, versions, replicas and activations; writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Now

from catalog.models import Service
from tenants.models import Tenant
from versions.models import Activation, Build, Node, PlatformState, Reload, Replica, SourceWatch, Version
from versions.queue import Admission, admissions, in_turn_for, pending_in_turn
from versions.routable import in_route, noting_route
from versions.states import BUILD_UNFINISHED, PLACED, BuildState, ReplicaState, Verdict, VersionState
from versions.views import (
    activation_view,
    build_detail_view,
    build_view,
    engine_reason,
    node_view,
    replica_view,
    service_view,
    version_view,
)

__all__ = [
    "NODE_FRESH_SECONDS",
    "Admission",
    "activation_view",
    "activations_of",
    "admissions",
    "askable_versions",
    "audited_replicas",
    "audited_services",
    "build_detail_view",
    "build_get",
    "build_view",
    "builds_of",
    "candidate_versions",
    "coolable_versions",
    "due_watches",
    "engine_reason",
    "fresh_nodes",
    "healthy_replicas",
    "in_turn_for",
    "is_loaded",
    "is_wrong_in_itself",
    "joining_replicas",
    "live_items",
    "live_version",
    "load_seconds",
    "loaded_replicas",
    "loaded_versions",
    "node_view",
    "nodes",
    "open_reload",
    "open_reloads",
    "pending_in_turn",
    "platform_epoch",
    "reachable_replicas",
    "replica_view",
    "replicas_of",
    "retirable",
    "rollback_target",
    "routable_versions",
    "seconds_before",
    "service_view",
    "short_of_replicas",
    "sick_replicas",
    "thawable_versions",
    "undeleted_bytes",
    "version_get",
    "version_of",
    "version_view",
    "versions_of",
]

# A node whose agent was heard within this time may be given new replicas, and is believed to serve those it has.
NODE_FRESH_SECONDS = 15
# The steps of a build that a cold version passes again before it serves.
LOAD_STEPS = ("place_replicas", "warm_replicas", "check_replicas")
# What was live on a node that is silent for so long is loaded elsewhere; an agent that restarts is back long before.
NODE_LOST_SECONDS = 120
# Replicas that a route names, or would name if they were well.
AUDITED = Q(state__in=PLACED) & in_route("version__")
ONCE_LIVE_AND_GOOD = Q(state=VersionState.READY, activated_at__isnull=False, bad_at__isnull=True)
# A version that is found wrong on so many nodes, and well on none, is wrong in itself.
WRONG_NODES_MIN = 2
# No source waits longer for its next look than this, unless there are too many of them.
LOOK_SECONDS_MAX = 300


def builds_of(service: Service) -> QuerySet[Build]:
    """Newest first."""
    return Build.objects.of(service.tenant).filter(service=service).order_by("-number")


def build_get(service: Service, number: int) -> Build:
    """Raises NotFound (BUILD_NOT_FOUND)."""
    return Build.objects.filter(service=service).of_or_404(service.tenant, number=number)


def seconds_before(build: Build) -> dict[str, float]:
    """How long each step took in the newest build of the service before this one that succeeded."""
    before = builds_of(build.service).filter(state=BuildState.SUCCEEDED, number__lt=build.number).first()
    steps = before.steps.filter(started_at__isnull=False, ended_at__isnull=False) if before else []
    return {
        step.name: (step.ended_at - step.started_at).total_seconds()
        for step in steps
        if step.ended_at and step.started_at
    }


def versions_of(service: Service) -> QuerySet[Version]:
    """Newest first."""
    found = Version.objects.of(service.tenant).filter(service=service)
    return found.select_related("build", "service").order_by("-number")


def version_get(service: Service, number: int) -> Version:
    """Raises NotFound (VERSION_NOT_FOUND)."""
    return Version.objects.filter(service=service).of_or_404(service.tenant, number=number)


def version_of(build: Build) -> Version | None:
    """The version that `build` makes or made, as it is now; None until its number is given out."""
    if build.version_number is None:
        return None
    return Version.objects.select_related("service__tenant").filter(build=build, number=build.version_number).first()


def live_version(service: Service) -> Version | None:
    """The version that the live pointer of `service`, as it was read, points to."""
    if service.live_version is None:
        return None
    return versions_of(service).filter(number=service.live_version).first()


def rollback_target(service: Service) -> Version | None:
    """Where a rollback goes: the newest version older than live that was live once and is not marked bad.

    One that is loaded, or kept unloaded (cold), before one that is on no node any more; what is not loaded is loaded
    first.
    """
    if service.live_version is None:
        return None
    good = versions_of(service).filter(ONCE_LIVE_AND_GOOD, number__lt=service.live_version)
    at_hand = good.filter(Q(_is_loaded()) | Q(cold_at__isnull=False))
    return at_hand.first() or good.first()


def routable_versions(service: Service) -> list[Version]:
    """What a route names: the live version first, then those that were live, are hot and not marked bad.

    Without a live version nothing answers, so none is named.
    """
    return sorted(versions_of(service).filter(in_route()), key=lambda version: version.number != service.live_version)


def loaded_versions(service: Service) -> list[Version]:
    """The live version first, then what else is on nodes or shall be, newest first."""
    there = versions_of(service).exclude(artifact="")
    found = there.filter(Q(number=service.live_version) | Q(replicas__state__in=PLACED)).distinct()
    return sorted(found, key=lambda version: version.number != service.live_version)


def candidate_versions(service: Service) -> list[Version]:
    """Complete versions that were never live, newest first: what a route names for who requires them by number.

    Without a live version nothing answers, so none is named: a cleared service gives nothing away.
    """
    if service.live_version is None:
        return []
    return list(versions_of(service).filter(state=VersionState.READY, activated_at__isnull=True))


def askable_versions(service: Service) -> list[Version]:
    """What a query may name: the live version first, then those that were live and candidates, as far as loaded."""
    others = [each for each in routable_versions(service) if each.number != service.live_version]
    live = live_version(service)
    loaded = [version for version in (*others, *candidate_versions(service)) if is_loaded(version)]
    return [] if live is None else [live, *loaded]


def retirable(service: Service, *, keep: int) -> list[Version]:
    """READY versions beyond the `keep` that stay (live and its newest possible rollback targets), oldest first.

    Where a rollback would go now stays too, even when newer targets (which may be loaded again) fill `keep`, and what
    an unfinished build still works on. Before the first activation everything stays.
    """
    ready = list(versions_of(service).filter(state=VersionState.READY).order_by("number"))
    if service.deleted_at is not None:
        return ready
    if service.live_version is None:
        return []
    targets = [v.number for v in ready if v.number < service.live_version and v.activated_at and v.bad_at is None]
    unfinished = builds_of(service).filter(state__in=BUILD_UNFINISHED)
    kept = {service.live_version, *targets[max(0, len(targets) - (keep - 1)) :]}
    target = rollback_target(service)
    kept.update([target.number] if target else [])
    reload = open_reload(service)
    kept.update([reload.version.number] if reload else [])
    kept.update(number for number in unfinished.values_list("version_number", flat=True) if number)
    return [version for version in ready if version.number not in kept]


def is_loaded(version: Version) -> bool:
    """Whether at least one replica of it is READY on a node that was heard within NODE_FRESH_SECONDS.

    When no node at all was heard, it is the reports that are away (Redis, or the worker that reads them) rather than
    every node, and the rows are trusted: a rollback must work then, too.
    """
    return Version.objects.filter(_is_loaded(), pk=version.pk).exists()


def needing_a_load(versions: Iterable[Version]) -> set[int]:
    """Numbers of those of these READY versions that have to be loaded and checked before they can serve.

    While gateways still leave a cold one, it is as it was and can serve at once; after that its replicas, if there are
    any, may be new ones that nobody has checked.
    """
    asked = list(versions)
    loaded = set(Version.objects.filter(_is_loaded(), pk__in=[each.pk for each in asked]).values_list("pk", flat=True))
    left = {each.pk for each in asked if each.cold_at is not None and each.unrouted_at is not None}
    return {each.number for each in asked if each.pk in left or each.pk not in loaded}


def short_of_replicas(heard: Collection[str] = ()) -> list[tuple[Version, int]]:
    """Versions that are to be loaded and of which fewer replicas are left than their build placed, and how many.

    Live ones first, then those that a rollback goes to, unless their services keep them cold.
    FAILED ones do not count, though their agents go on trying, nor those on nodes silent for NODE_LOST_SECONDS, nor
    those that were not cured within that time: unless the version is wrong in itself, and would be so anywhere.
    `heard`: names of nodes that report now, whatever their rows say yet.
    """
    lost = Now() - timedelta(seconds=NODE_LOST_SECONDS)
    there = Q(replicas__node__seen_at__gte=lost) | Q(replicas__node__name__in=heard)
    there &= Q(replicas__state__in=[state for state in PLACED if state != ReplicaState.FAILED])
    # One that is withheld and not sick has only just been loaded in another's place.
    cured = Q(replicas__withheld=False) | Q(replicas__sick_reason="") | Q(replicas__sick_since__gte=lost)
    kept = Version.objects.filter(state=VersionState.READY, service__deleted_at__isnull=True)
    kept = kept.filter(Q(service__live_version=F("number")) | Q(pk__in=_hot_rollback_targets().values("pk")))
    counted = kept.select_related("service__tenant").order_by("pk")
    counted = counted.annotate(there=Count("replicas", filter=there), left=Count("replicas", filter=there & cured))
    missing = [(version, version.spec["replicas"]["count"] - _left_of(version)) for version in counted]
    short = [(version, count) for version, count in missing if count > 0]
    return sorted(short, key=lambda each: each[0].service.live_version != each[0].number)


def is_wrong_in_itself(version: Version) -> bool:
    """Whether it answers wrongly on several nodes and rightly on none: then none of its replicas is at fault."""
    wrong = Replica.objects.filter(version=version, state__in=PLACED, sick_reason=Verdict.WRONG)
    return wrong.count() >= WRONG_NODES_MIN and not healthy_replicas(version).exists()


def replicas_of(service: Service) -> QuerySet[Replica]:
    """Newest version first; those that are gone are left out."""
    present = Replica.objects.of(service.tenant).filter(version__service=service).exclude(state=ReplicaState.GONE)
    return noting_route(present).select_related("version__service", "node").order_by("-version__number", "node__name")


def audited_replicas() -> QuerySet[Replica]:
    """Those that a route names, or would name if they were well."""
    return Replica.objects.filter(AUDITED).select_related("version__service__tenant", "node").order_by("pk")


def audited_services() -> dict[int, int]:
    """How many replicas of each service, by its key, are audited or were found sick."""
    found = Replica.objects.filter(AUDITED | ~Q(sick_reason="")).order_by()
    return dict(found.values_list("version__service").annotate(Count("pk")))


def reachable_replicas(version: Version) -> list[Replica]:
    """Those that are on their nodes or shall be, but for nodes that are silent; when all are, the rows are trusted."""
    placed = Replica.objects.filter(version=version, state__in=PLACED).select_related("node").order_by("pk")
    heard = fresh_nodes().order_by()
    return list(placed.filter(node__in=heard) if heard.exists() else placed)


def joining_replicas() -> QuerySet[Replica]:
    """Those that were loaded in place of lost ones and are in no route yet."""
    joining = Replica.objects.filter(withheld=True, sick_reason="", state=ReplicaState.READY)
    wanted = joining.filter(version__state=VersionState.READY, version__service__deleted_at__isnull=True)
    return wanted.select_related("version__service__tenant", "node").order_by("pk")


def sick_replicas() -> QuerySet[Replica]:
    """Those that an audit found sick, wherever they are by now."""
    return Replica.objects.exclude(sick_reason="").select_related("version__service__tenant", "node").order_by("pk")


def healthy_replicas(version: Version) -> QuerySet[Replica]:
    """Replicas of `version` that answer in another's place: in the routes, found well, on a node that is heard."""
    well = Replica.objects.filter(version=version, state=ReplicaState.READY, sick_reason="", verdict=Verdict.OK)
    return well.filter(withheld=False, node__in=fresh_nodes().order_by())


def coolable_versions() -> QuerySet[Version]:
    """READY versions that were live, are not now, and are loaded though their service says standby: cold."""
    cold = Version.objects.filter(service__spec__versions__standby="cold", service__deleted_at__isnull=True)
    was_live = cold.filter(state=VersionState.READY, activated_at__isnull=False, service__live_version__isnull=False)
    loaded = was_live.exclude(service__live_version=F("number")).filter(replicas__state__in=PLACED).distinct()
    return loaded.select_related("service__tenant").order_by("pk")


def thawable_versions() -> QuerySet[Version]:
    """Cold versions that a rollback could go to, of services that say standby: hot (again)."""
    hot = Version.objects.filter(service__spec__versions__standby="hot", service__deleted_at__isnull=True)
    cold = hot.filter(state=VersionState.READY, cold_at__isnull=False, bad_at__isnull=True)
    idle = cold.exclude(service__in=open_reloads().values("service"))
    return idle.filter(number__lt=F("service__live_version")).select_related("service__tenant").order_by("pk")


def open_reloads() -> QuerySet[Reload]:
    return Reload.objects.filter(ended_at__isnull=True).select_related("service__tenant", "version").order_by("pk")


def open_reload(service: Service) -> Reload | None:
    """The version of `service` that is being loaded again, if one is."""
    return open_reloads().filter(service=service).first()


def load_seconds(version: Version) -> float | None:
    """How long the build of `version` took to load it, warm it up and check it; None when that is not known."""
    steps = version.build.steps.filter(name__in=LOAD_STEPS, started_at__isnull=False, ended_at__isnull=False)
    took = [step.ended_at - step.started_at for step in steps if step.ended_at and step.started_at]
    return sum(each.total_seconds() for each in took) if took else None


def loaded_replicas() -> list[Replica]:
    """All that are on their nodes, or shall be, or are about to leave."""
    present = Replica.objects.exclude(state=ReplicaState.GONE).filter(version__completed_at__isnull=False)
    return list(present.select_related("version__service", "node"))


def live_items(tenant: Tenant) -> dict[int, int]:
    """The items of each live version of the tenant, by the service's key."""
    live = Version.objects.of(tenant).filter(service__live_version=F("number"), service__deleted_at__isnull=True)
    return dict(live.values_list("service_id", "items"))


def undeleted_bytes() -> int:
    """The files of versions that are on their way out, which the sweeper is going to delete."""
    leaving = Version.objects.filter(
        state__in=[VersionState.RETIRING, VersionState.RETIRED, VersionState.FAILED], files_deleted_at__isnull=True
    )
    return leaving.aggregate(bytes=Sum("bytes"))["bytes"] or 0


def activations_of(service: Service) -> QuerySet[Activation]:
    """Newest first."""
    return Activation.objects.of(service.tenant).filter(service=service).order_by("-live_generation")


def nodes() -> QuerySet[Node]:
    return Node.objects.order_by("name")


def fresh_nodes() -> QuerySet[Node]:
    """Nodes whose agent was heard lately, most free memory first."""
    heard = Node.objects.filter(seen_at__gte=Now() - timedelta(seconds=NODE_FRESH_SECONDS))
    return heard.order_by("-memory_available_bytes", "name")


def due_watches(now: datetime) -> QuerySet[SourceWatch]:
    """Sources that are to be looked at, the one that waits for the longest time first: so each has its turn.

    One that is due far ahead was taken under a clock that has been set back since.
    """
    due = Q(next_look_at__lte=now) | Q(next_look_at__gt=now + timedelta(seconds=2 * LOOK_SECONDS_MAX))
    watches = SourceWatch.objects.filter(due, service__deleted_at__isnull=True)
    return watches.select_related("service__tenant").order_by("next_look_at", "pk")


def platform_epoch() -> int:
    """The epoch of every stamp; 1 until a restore raised it."""
    return PlatformState.objects.filter(pk=1).values_list("epoch", flat=True).first() or 1


def _hot_rollback_targets() -> QuerySet[Version]:
    """Of each service that says standby: hot, the newest version that a rollback could go to, loaded or not."""
    older = Version.objects.filter(ONCE_LIVE_AND_GOOD, cold_at__isnull=True, service=OuterRef("service"))
    newest = older.filter(number__lt=OuterRef("service__live_version")).order_by("-number").values("number")[:1]
    return Version.objects.filter(service__spec__versions__standby="hot", number=Subquery(newest))


def _left_of(version: Any) -> int:
    """Of a version annotated by short_of_replicas."""
    spreads = version.there == version.left or not is_wrong_in_itself(version)
    return int(version.left if spreads else version.there)


def _is_loaded() -> Exists:
    ready = Replica.objects.filter(version=OuterRef("pk"), state=ReplicaState.READY, withheld=False)
    heard = fresh_nodes().order_by()
    return Exists(ready.filter(node__in=heard) if heard.exists() else ready)
