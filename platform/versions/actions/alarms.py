"""Which alerts builds and switches raise, and when they are over. Called in the transaction of what they tell of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from alerts.actions import alert_raise, alert_resolve, alerts_resolve
from alerts.selectors import unresolved_subjects
from versions.models import Activation, Build

LAGGING = "activation.lagging"
BUILD_SUBJECT = re.compile(r"build ([0-9]+)")


def build_alert(build: Build, *, reason: str, message: str, evidence: Mapping[str, Any]) -> None:
    """A build is held or has failed. What is live stays, therefore no more than a warning."""
    alert_raise(
        service=build.service, reason=reason, subject=_subject(build.number), message=message, evidence=evidence
    )


def build_alerts_end(build: Build) -> None:
    """Somebody has decided: the build goes on, or is not wanted any more."""
    alerts_resolve(service=build.service, subjects=[_subject(build.number)])


def build_alerts_end_until(build: Build) -> None:
    """A build succeeded: what was wrong with it and with those before it is over."""
    numbers = (BUILD_SUBJECT.fullmatch(subject) for subject in unresolved_subjects(build.service))
    over = sorted(int(found[1]) for found in numbers if found and int(found[1]) <= build.number)
    alerts_resolve(service=build.service, subjects=[_subject(number) for number in over])


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


def _subject(number: int) -> str:
    return f"build {number}"


def _switch(activation: Activation) -> str:
    return f"activation {activation.live_generation}"
