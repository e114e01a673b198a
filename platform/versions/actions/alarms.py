"""Which alerts builds and switches raise, and when they are over. Called in the transaction of what they tell of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from alerts.actions import alert_raise, alert_resolve, alert_reword, alerts_resolve
from alerts.selectors import unresolved, unresolved_of, unresolved_subjects
from alerts.states import Severity
from catalog.models import Service
from versions.models import Activation, Build, Version
from versions.selectors import healthy_replicas, is_loaded, rollback_target, versions_of
from versions.subjects import build_number_in, subject_of, version_number_in, version_subject_of

LAGGING = "activation.lagging"
NO_ROOM = "replica.no_room"
LEFT_BEHIND = "engine.left_behind"
# Of a version whose replicas are well but for the server that its engine asks.
ENGINE_UNAVAILABLE = "engine.unavailable"
# Somebody, or its service's standby, wanted a version loaded, and it was not.
RELOAD_FAILED = "version.reload_failed"
# A build that ended for the sake of what serves where its index was made.
MADE_WAY = "build.made_way"


def build_alert(build: Build, *, reason: str, message: str, evidence: Mapping[str, Any]) -> None:
    """A build is held or has failed. What is live stays, therefore no more than a warning."""
    alert_raise(
        service=build.service, reason=reason, subject=subject_of(build.number), message=message, evidence=evidence
    )


def build_alerts_end(build: Build) -> None:
    """Somebody has decided: the build goes on, or is not wanted any more."""
    alerts_resolve(service=build.service, subjects=[subject_of(build.number)])


def made_way_alert(build: Build) -> None:
    """Nobody of the service has asked for its end, and its drop is not built again by itself."""
    message = f"Build {build.number} was ended for the sake of what serves where it was made. Ask for a new one."
    alert_raise(service=build.service, reason=MADE_WAY, message=message, evidence={"build": build.number})


def build_alerts_end_until(build: Build) -> None:
    """A build succeeded: what was wrong with it and with those before it is over."""
    numbers = map(build_number_in, unresolved_subjects(build.service))
    over = sorted(number for number in numbers if number is not None and number <= build.number)
    alerts_resolve(service=build.service, subjects=[subject_of(number) for number in over])
    alert_resolve(service=build.service, reason=MADE_WAY)


def activation_alert(activation: Activation) -> None:
    """Gateways still serve what was live before: callers of one get other answers than callers of another."""
    named = ", ".join(activation.laggards)
    alert_raise(
        service=activation.service,
        reason=LAGGING,
        subject=_switch(activation),
        message=f"Version {activation.to_version} is live and not yet served by {named}.",
        severity="critical",
        evidence={"version": activation.to_version, "laggards": activation.laggards},
    )


def activation_alert_end(activation: Activation) -> None:
    alert_resolve(service=activation.service, reason=LAGGING, subject=_switch(activation))


def room_alert(*, version: Version, message: str, evidence: Mapping[str, Any]) -> None:
    """A version has lost replicas, and no node has the memory for others. What is left goes on answering."""
    loaded, live = is_loaded(version), version.service.live_version == version.number
    what = (
        "has too few replicas" if loaded else "does not answer" if live else "is not loaded, and a rollback goes to it"
    )
    alert_raise(
        service=version.service,
        reason=NO_ROOM,
        subject=version_subject_of(version.number),
        message=f"Version {version.number} {what}: {message}",
        severity=Severity.CRITICAL if live and not loaded else Severity.WARNING,
        evidence={"version": version.number, **evidence},
    )


def room_alerts_end(*, but: Collection[Version]) -> None:
    """No version but these has too few replicas any more."""
    short = {(version.service_id, version_subject_of(version.number)) for version in but}
    for alert in unresolved_of(NO_ROOM):
        if (alert.service_id, alert.subject) not in short:
            alert_resolve(service=alert.service, reason=NO_ROOM, subject=alert.subject)


def left_behind_alert(*, service: Service, left: Mapping[str, str]) -> None:
    """What nobody wants any more cannot be removed where an engine has put it, and takes room there until it can.

    `left`: of which version or build, and why.
    """
    told = " ".join(f"{name}: {why}" for name, why in left.items())
    message = f"What an engine has stored outside the files could not be removed yet, and is tried again. {told}"
    alert_raise(service=service, reason=LEFT_BEHIND, message=message, evidence={"left": sorted(left)})


def left_behind_alerts_end(*, but: Collection[int]) -> None:
    """No service but these, by their keys, leaves anything behind any more."""
    for alert in unresolved_of(LEFT_BEHIND):
        if alert.service_id not in but:
            alert_resolve(service=alert.service, reason=LEFT_BEHIND)


def engine_alert(*, version: Version, node: str, error: str, evidence: Mapping[str, Any]) -> None:
    """The server that its engine asks does not answer this node: one alert for the version, however many replicas."""
    told = {"version": version.number, "node": node, "error": error, **evidence}
    alert_raise(
        service=version.service,
        reason=ENGINE_UNAVAILABLE,
        subject=version_subject_of(version.number),
        evidence=told,
        **_engine_said(version, told),
    )


def engine_alert_follow(version: Version) -> None:
    """Its gravity and its words follow what is live and which replicas are well; nothing is written while they do."""
    for alert in unresolved(version.service, ENGINE_UNAVAILABLE, version_subject_of(version.number)):
        alert_reword(alert=alert, **_engine_said(version, alert.evidence))


def reload_alert(*, version: Version, failure: str) -> None:
    alert_raise(
        service=version.service,
        reason=RELOAD_FAILED,
        subject=version_subject_of(version.number),
        message=f"Version {version.number} was to be loaded again and was not: {failure}",
        severity=Severity.CRITICAL,
    )


def reload_alert_end(version: Version) -> None:
    """It is loaded, or nobody wants it to be any more."""
    alert_resolve(service=version.service, reason=RELOAD_FAILED, subject=version_subject_of(version.number))


def alerts_follow_live(service: Service) -> None:
    """Another version of `service`, as it was read just now, is live, or none: what was said of the others follows.

    Who could not go to a version has gone elsewhere, so that nobody waits for it to be loaded any more: but for the one
    that a rollback would go to from here.
    """
    numbers = {number for number in map(version_number_in, unresolved_subjects(service)) if number is not None}
    target = rollback_target(service) if numbers else None
    for version in versions_of(service).filter(number__in=numbers):
        engine_alert_follow(version)
        if version != target:
            reload_alert_end(version)


def _engine_said(version: Version, evidence: Mapping[str, Any]) -> dict[str, str]:
    """Severity and message of what `evidence` tells, as things are now."""
    live = version.service.live_version == version.number
    others = healthy_replicas(version).exists()
    # A replica's own words, which name the server.
    why = evidence.get("error", "its replicas do not say why")
    what = f"The server that the engine of version {version.number} asks does not answer: {why}."
    if others:
        told = f"That is so on {evidence.get('node')}, which is out of the routes until it is over; the others answer."
    elif live:
        told = (
            "Callers are told UNAVAILABLE (ENGINE_UNAVAILABLE), and are answered again as soon as the server is back, "
            "for which an administrator has to look. If that takes long, roll back to a version elsewhere."
        )
    else:
        told = (
            "It is not live, so that callers notice nothing. Until the server is back, for which an administrator has "
            "to look, a rollback or an activation that goes to it is refused while what is live answers."
        )
    return {"severity": Severity.CRITICAL if live and not others else Severity.WARNING, "message": f"{what} {told}"}


def _switch(activation: Activation) -> str:
    return f"activation {activation.live_generation}"
