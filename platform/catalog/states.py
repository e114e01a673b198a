"""The state machine of a draft, as a table. A `state` column changes only through common.transitions.move.

ASKED -> READING -> READ or UNREADABLE; from each of them a new question leads back to ASKED. READING -> READING when
the worker that was at it is gone.
"""

from __future__ import annotations

from django.db import models


class DraftState(models.TextChoices):
    """How far the platform is with looking into a draft's source."""

    ASKED = "ASKED"
    READING = "READING"
    READ = "READ"
    UNREADABLE = "UNREADABLE"


DRAFT = {
    "ASKED": frozenset({"ASKED", "READING"}),
    "READING": frozenset({"ASKED", "READING", "READ", "UNREADABLE"}),
    "READ": frozenset({"ASKED"}),
    "UNREADABLE": frozenset({"ASKED"}),
}
DRAFT_UNDER_WAY = frozenset({"ASKED", "READING"})
