"""The state machines, as tables. A `state` column changes only through common.transitions.move.

Build      PENDING -> RUNNING -> SUCCEEDED
                         |-> HELD -> PENDING (override, release) | CANCELLED (newer drop, operator, expiry)
                         |-> FAILED -> PENDING (retry from the failed step)
           A build may be cancelled from PENDING, RUNNING and HELD.
Step       PENDING -> RUNNING -> DONE | HELD | FAILED | CANCELLED; a retry or override goes back to PENDING, and so does
           a DONE step whose files are gone or whose effect was taken back.
Version    BUILDING -> READY -> RETIRING -> RETIRED; BUILDING or READY -> FAILED with its build.
Replica    WANTED -> LOADING -> READY; READY <-> LOADING on respawn; any -> FAILED; any -> WITHDRAWN -> GONE.
Activation PENDING -> COMPLETE, or PENDING -> LAGGING -> COMPLETE.
Comparison ASKED -> RUNNING -> DONE | FAILED; RUNNING -> RUNNING when its worker is gone; FAILED -> ASKED when somebody
           asks again later.

A move that nobody makes is in no table.
"""

from __future__ import annotations

from django.db import models


class BuildState(models.TextChoices):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    HELD = "HELD"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


STATE_TEXTS = {
    BuildState.PENDING: "is waiting",
    BuildState.RUNNING: "is running",
    BuildState.HELD: "is held",
    BuildState.SUCCEEDED: "has succeeded",
    BuildState.FAILED: "has failed",
    BuildState.CANCELLED: "is cancelled",
}


class StepState(models.TextChoices):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    HELD = "HELD"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class LineLevel(models.TextChoices):
    """Of a line of a build's log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class VersionState(models.TextChoices):
    BUILDING = "BUILDING"
    READY = "READY"
    RETIRING = "RETIRING"
    RETIRED = "RETIRED"
    FAILED = "FAILED"


class ReplicaState(models.TextChoices):
    WANTED = "WANTED"
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    WITHDRAWN = "WITHDRAWN"
    GONE = "GONE"


# In these a replica is, or shall be, on its node.
PLACED = (ReplicaState.WANTED, ReplicaState.LOADING, ReplicaState.READY, ReplicaState.FAILED)


class Verdict(models.TextChoices):
    """What an audit says of a replica; all but OK make it sick."""

    OK = "OK"
    AWAY = "AWAY"
    WRONG = "WRONG"
    SLOW = "SLOW"
    STALE = "STALE"
    FROZEN = "FROZEN"
    FAILED = "FAILED"


class ActivationState(models.TextChoices):
    """LOADING is never in a row: the answer for a version that is loaded first."""

    LOADING = "LOADING"
    PENDING = "PENDING"
    COMPLETE = "COMPLETE"
    LAGGING = "LAGGING"


class ComparisonState(models.TextChoices):
    ASKED = "ASKED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"


BUILD = {
    "PENDING": frozenset({"RUNNING", "CANCELLED"}),
    "RUNNING": frozenset({"RUNNING", "HELD", "SUCCEEDED", "FAILED", "CANCELLED"}),
    "HELD": frozenset({"PENDING", "CANCELLED"}),
    "FAILED": frozenset({"PENDING"}),
    "SUCCEEDED": frozenset(),
    "CANCELLED": frozenset(),
}
BUILD_UNFINISHED = frozenset({"PENDING", "RUNNING", "HELD"})
BUILD_FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})

# The reason of a build that is CANCELLED because there was nothing to do.
DUPLICATE = "build.duplicate"

STEP = {
    "PENDING": frozenset({"RUNNING", "CANCELLED"}),
    "RUNNING": frozenset({"DONE", "HELD", "FAILED", "CANCELLED"}),
    "HELD": frozenset({"PENDING", "CANCELLED"}),
    "FAILED": frozenset({"PENDING"}),
    "DONE": frozenset({"PENDING"}),
    "CANCELLED": frozenset(),
}

VERSION = {
    "BUILDING": frozenset({"READY", "FAILED"}),
    "READY": frozenset({"RETIRING", "FAILED"}),
    "RETIRING": frozenset({"RETIRED"}),
    "RETIRED": frozenset(),
    "FAILED": frozenset(),
}

REPLICA = {
    "WANTED": frozenset({"LOADING", "READY", "FAILED", "WITHDRAWN"}),
    "LOADING": frozenset({"READY", "FAILED", "WITHDRAWN"}),
    "READY": frozenset({"LOADING", "FAILED", "WITHDRAWN"}),
    "FAILED": frozenset({"LOADING", "READY", "WITHDRAWN"}),
    "WITHDRAWN": frozenset({"GONE", "WANTED"}),
    "GONE": frozenset({"WANTED"}),
}

ACTIVATION = {
    "LOADING": frozenset(),
    "PENDING": frozenset({"COMPLETE", "LAGGING"}),
    "LAGGING": frozenset({"COMPLETE"}),
    "COMPLETE": frozenset(),
}

COMPARISON = {
    "ASKED": frozenset({"RUNNING"}),
    "RUNNING": frozenset({"RUNNING", "DONE", "FAILED"}),
    "FAILED": frozenset({"ASKED"}),
    "DONE": frozenset(),
}
COMPARISON_UNDER_WAY = frozenset({"ASKED", "RUNNING"})
