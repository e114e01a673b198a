"""What a step may answer, and how it may fail.

Done     the step is through; `report` is for people, `context` for the steps after it
Wait     nothing to do for some seconds: the worker is freed, the sweeper rings again
Hold     a guard is not met: an operator overrides, or a newer drop cancels the build
Cancel   the build is not needed
StepFailed   a bad drop, an engine error, a node that cannot load it: the build fails
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Owner = Literal["user", "platform"]


@dataclass(frozen=True)
class Evidence:
    """A guard (by its name in the spec) that is not met: what was found, beside its limit; `sentence` tells people."""

    name: str
    # None: it could not be measured.
    value: float | None
    limit: float
    what: str = "found"
    sentence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The figures, for programs."""
        return {"name": self.name, "value": self.value, "limit": self.limit, "what": self.what}


@dataclass(frozen=True)
class Done:
    report: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True)
class Wait:
    seconds: float
    detail: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    # Other builds of the tenant may begin meanwhile: it needs no more than what it has.
    parked: bool = False


@dataclass(frozen=True)
class Hold:
    reason: str
    message: str
    evidence: tuple[Evidence, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    # What it was judged by and may be another one later: a version, or the hold of a service.
    beside: str = ""


@dataclass(frozen=True)
class Cancel:
    reason: str
    message: str


Outcome = Done | Wait | Hold | Cancel


class StepFailed(Exception):
    """The build cannot go on. `reason` is a stable id, `owner` says who can mend it."""

    def __init__(self, reason: str, message: str, *, owner: Owner = "platform") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.owner: Owner = owner


class CancelRequested(Exception):
    """Somebody asked to cancel the build while it ran."""
