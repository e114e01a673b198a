"""Drafts of services: saved with every step, their sources looked into by a worker, gone when nobody goes on with them.

Nothing that a draft holds is served or built, so that the audit trail begins with the service that it becomes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from catalog.actions.services import spec_check
from catalog.blocks import ITEMS_MAX
from catalog.faults import Fault
from catalog.intents import MATTERS, Intent, first_spec, items_of, proposed_spec, with_blocks, with_intent
from catalog.models import Draft
from catalog.selectors import decided_by, drafts_of
from catalog.spec import invalid
from catalog.states import DRAFT, DraftState
from common.actor import Actor
from common.dispatch import after_commit
from common.errors import Conflict, FailedPrecondition, InvalidArgument, StateConflict
from common.transitions import move
from tenants.models import Tenant
from tenants.permissions import tenant_not_found

# After so long without a change a draft is deleted.
DRAFT_DAYS = 14
# Of one tenant, those that have not become a service.
DRAFTS_MAX = 50
TOKEN_BYTES = 12
# A worker that has not answered after so long is gone: the look itself ends after 20 s.
TAKEN_SECONDS = 60
# A question that so many workers did not live to answer is not asked again by itself.
TAKES_MAX = 3
EXPIRED_AT_ONCE_MAX = 1_000


def draft_create(*, actor: Actor, tenant: Tenant, intent: Intent) -> Draft:
    """A new draft, and a look at its source asked for.

    Raises InvalidArgument with every fault of the intent, FailedPrecondition when there are DRAFTS_MAX already.
    """
    _check_intent(tenant, intent)
    with transaction.atomic():
        if not Tenant.objects.select_for_update().filter(pk=tenant.pk, deleted_at__isnull=True).exists():
            raise tenant_not_found()
        if drafts_of(tenant).count() >= DRAFTS_MAX:
            message = f"{tenant.name} has {DRAFTS_MAX} drafts already. Go on with one of them, or discard one."
            raise FailedPrecondition(message, reason="DRAFTS_MAX")
        draft = Draft.objects.create(
            tenant=tenant,
            token=secrets.token_urlsafe(TOKEN_BYTES),
            intent=intent.to_dict(),
            spec=first_spec(intent),
            asked_at=timezone.now(),
            created_by=actor.name,
            **_changed(),
        )
        after_commit("draft.read", draft.pk)
    return draft


def draft_intend(*, draft: Draft, intent: Intent) -> Draft:
    """Another intent. What was decided stays, unless it follows from the intent; another source is looked into anew.

    Raises InvalidArgument with every fault.
    """
    _check_intent(draft.tenant, intent)
    if not intent.asks_of_the_same_source(Intent.from_dict(draft.intent)):
        return _ask(draft, intent=intent.to_dict(), spec=first_spec(intent), inspection=None)
    spec = with_intent(draft.spec, intent, items_of(intent, draft.inspection))
    return _save(draft, intent=intent.to_dict(), spec=spec)


def draft_decide(*, draft: Draft, spec: Mapping[str, Any]) -> Draft:
    """Blocks of a spec in place of those of the draft, an empty one for the defaults.

    When they change how rows are judged, the sample is judged anew. What has faults is saved as well, so that nobody
    loses what they typed: `spec_check` names them.
    """
    merged = with_blocks(draft.spec, spec)
    if draft.inspection is None or decided_by(merged) == decided_by(draft.spec):
        return _save(draft, spec=merged)
    return _ask(draft, spec=merged)


def draft_read_again(*, draft: Draft) -> Draft:
    """Asks for another look at the source, for example because a drop has arrived meanwhile."""
    return _ask(draft)


def draft_discard(*, draft: Draft) -> None:
    Draft.objects.of(draft.tenant).filter(pk=draft.pk).delete()


def draft_take(draft_id: int) -> Draft | None:
    """The draft for the worker that is to look into its source; None when nobody asks, or another worker is at it.

    A question that TAKES_MAX workers did not live to answer is answered here, with that.
    """
    waiting = Q(state=DraftState.ASKED) | Q(state=DraftState.READING, taken_until__lt=Now())
    draft = Draft.objects.select_related("tenant").filter(waiting, pk=draft_id).first()
    if draft is None:
        return None
    taken_until = timezone.now() + timedelta(seconds=TAKEN_SECONDS)
    # Of two workers that both found it the second finds other values.
    found = {"state": draft.state, "question": draft.question, "takes": draft.takes}
    try:
        move(draft, DRAFT, DraftState.READING, where=found, takes=F("takes") + 1, taken_until=taken_until)
    except StateConflict:
        return None
    if draft.takes > TAKES_MAX:
        message = "The platform did not get to the end of looking into this source. Try it again."
        draft_unreadable(draft=draft, reason="READ_GAVE_UP", message=message)
        return None
    return draft


def draft_answered(*, draft: Draft, inspection: Mapping[str, Any]) -> None:
    """What lies in the source, for a draft as `draft_take` gave it. The first answer makes the proposal.

    Raises StateConflict when something else is asked meanwhile.
    """
    values: dict[str, Any] = {"inspection": inspection}
    if draft.inspection is None:
        values["spec"] = proposed_spec(Intent.from_dict(draft.intent), inspection)
    _answer(draft, DraftState.READ, problem_reason="", problem="", **values)


def draft_unreadable(*, draft: Draft, reason: str, message: str) -> None:
    """Why it could not be told. Raises StateConflict when something else is asked meanwhile."""
    _answer(draft, DraftState.UNREADABLE, problem_reason=reason, problem=message)


def drafts_expire() -> int:
    """Deletes the drafts whose time is over; how many there were."""
    expired = Draft.objects.filter(expires_at__lt=Now()).order_by("pk").values_list("pk", flat=True)
    deleted, _ = Draft.objects.filter(pk__in=list(expired[:EXPIRED_AT_ONCE_MAX])).delete()
    return deleted


def _check_intent(tenant: Tenant, intent: Intent) -> None:
    """By the rules of the spec that it begins. Asks the disk, therefore outside every transaction."""
    faults = list(_own_faults(intent))
    try:
        spec_check(tenant=tenant, spec=first_spec(intent))
    except InvalidArgument as error:
        faults += [fault for fault in error.details if _is_of_intent(str(fault["field"]), intent)]
    if faults:
        raise invalid(faults)


def _own_faults(intent: Intent) -> Iterator[Fault]:
    if intent.items is not None and not 1 <= intent.items <= ITEMS_MAX:
        yield {"field": "items", "message": f"Must be a whole number from 1 to {ITEMS_MAX:,}."}
    if intent.matters not in MATTERS:
        yield {"field": "matters", "message": f"Must be one of {', '.join(MATTERS)}."}


def _is_of_intent(field: str, intent: Intent) -> bool:
    """The rest of the spec is not decided yet."""
    return field.startswith(("name", "source.")) or (field == "schema.dimension" and intent.dimension is not None)


def _changed() -> dict[str, Any]:
    now = timezone.now()
    return {"changed_at": now, "expires_at": now + timedelta(days=DRAFT_DAYS)}


def _save(draft: Draft, **values: Any) -> Draft:
    rows = _unfinished(draft)
    if not rows.update(**values, **_changed()):
        raise _finished()
    return rows.select_related("tenant").get()


@transaction.atomic
def _ask(draft: Draft, **values: Any) -> Draft:
    """A new question about the source. Raises Conflict DRAFT_DONE."""
    where = {"service": ""}
    question = {"question": F("question") + 1, "asked_at": timezone.now(), "takes": 0, "taken_until": None}
    try:
        moved = move(draft, DRAFT, DraftState.ASKED, where=where, **question, **values, **_changed())
    except StateConflict as error:
        raise _finished() from error
    after_commit("draft.read", moved.pk)
    return moved


def _answer(draft: Draft, to: str, **values: Any) -> None:
    move(draft, DRAFT, to, where={"question": draft.question}, taken_until=None, **values)


def _unfinished(draft: Draft) -> QuerySet[Draft]:
    return Draft.objects.of(draft.tenant).filter(pk=draft.pk, service="")


def _finished() -> Conflict:
    return Conflict("This draft has become a service already.", reason="DRAFT_DONE")
