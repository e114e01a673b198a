"""Looks into the sources of drafts, for people who wait for it in the console; one look at a time."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from catalog.actions import drafts as actions
from catalog.models import Draft
from catalog.selectors import decided_by, drafts_waiting
from catalog.sources import INSPECT_SECONDS_MAX, source_inspect
from common.dispatch import ring
from common.errors import RecallError, StateConflict
from workers import doorbell
from workers.sweep import unless_redis_is_away

log = logging.getLogger(__name__)

# Celery ends a look after this time, for a file system that does not answer.
TASK_SECONDS_KILLED = 2 * INSPECT_SECONDS_MAX
# A draft that was just asked for is rung for by whoever asked.
RING_AFTER_SECONDS = 3
# So many drafts one tick rings for; the looks come one after another, and the rest have their turn.
RINGS_MAX = 20


@unless_redis_is_away
def read_alone(draft_id: int) -> None:
    """Looks into the source of one draft, unless another look is under way: slow sources never take every worker.

    Who finds another one at it goes; the tick rings again.
    """
    with doorbell.alone("drafts", seconds_max=TASK_SECONDS_KILLED) as mine:
        if mine:
            read(draft_id)


def read(draft_id: int) -> None:
    """Answers the draft's question, if it has one and nobody else is at it."""
    draft = actions.draft_take(draft_id)
    if draft is None:
        return
    try:
        _answer(draft)
    except StateConflict:
        log.info("%s asks something else meanwhile.", draft)


@unless_redis_is_away
def ring_for_waiting() -> None:
    """Rings for drafts whose message was lost, came while another look was under way, or whose worker is gone."""
    before = timezone.now() - timedelta(seconds=RING_AFTER_SECONDS)
    for draft_id, question in drafts_waiting(before).values_list("pk", "question")[:RINGS_MAX]:
        if doorbell.may_ring_for_draft(draft_id, question):
            ring("draft.read", draft_id)


def expire() -> None:
    if deleted := actions.drafts_expire():
        log.info("%s drafts were deleted: nobody went on with them.", deleted)


def _answer(draft: Draft) -> None:
    # Before the first answer there is nothing but what was guessed, which must not judge anything.
    decided = {"files": decided_by(draft.spec)["files"]} if draft.inspection is None else decided_by(draft.spec)
    try:
        inspection = source_inspect(tenant=draft.tenant, uri=draft.intent["uri"], **decided)
    except RecallError as error:
        actions.draft_unreadable(draft=draft, reason=error.reason, message=error.message)
    else:
        actions.draft_answered(draft=draft, inspection=inspection)
