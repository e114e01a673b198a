"""Drafts of services: saved, proposed, asked about again when the question changes, and gone in the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from catalog.actions import drafts as actions
from catalog.actions import service_create, spec_check
from catalog.intents import MATTERS, Intent, items_of, proposed_spec, remarks
from catalog.models import Draft, Service
from catalog.selectors import draft_get, drafts_of
from catalog.states import DraftState
from common.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, StateConflict
from engines import registry
from tests.factories import TESTER

INTENT = Intent(name="movies", uri="file:movies/")


def inspection(**changes: Any) -> dict[str, Any]:
    """What lies in file:movies/: 100 rows of 8 dimensions with a genre."""
    suggested = {
        "id_type": "string",
        "dimension": 8,
        "metric": "cosine",
        "normalize": False,
        "attributes": [{"name": "genre", "type": "string"}, {"name": "score", "type": "float64"}],
    }
    found = {
        "rows": 100,
        "suggested_schema": suggested,
        "columns": {"id": "id", "vector": "emb"},
        "source_files": ["items-*.parquet"],
        "notes": [],
    }
    return {**found, **changes}


@pytest.fixture
def draft(films) -> Draft:
    return actions.draft_create(actor=TESTER, tenant=films, intent=INTENT)


def read(draft: Draft, **changes: Any) -> Draft:
    """The draft after a worker has looked into its source."""
    taken = actions.draft_take(draft.pk)
    assert taken is not None
    actions.draft_answered(draft=taken, inspection=inspection(**changes))
    return draft_get(draft.tenant, draft.token)


def test_a_draft_is_saved_and_a_worker_asked_after_the_commit(films, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        draft = actions.draft_create(actor=TESTER, tenant=films, intent=INTENT)
    assert len(callbacks) == 1
    assert (draft.state, draft.created_by, draft.spec["name"]) == (DraftState.ASKED, "tests", "movies")
    assert draft.expires_at > timezone.now() + timedelta(days=13)
    assert list(drafts_of(films)) == [draft]
    assert not AuditEvent.objects.filter(verb__startswith="draft").exists()


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"name": "Movies!"}, ["name"]),
        ({"uri": "file:../books/"}, ["source.uri"]),
        ({"uri": "s3://nobody/"}, ["source.uri"]),
        ({"items": 0}, ["items"]),
        ({"matters": "beauty"}, ["matters"]),
        ({"files": ("../x", "items.csv")}, ["source.files[0]"]),
        ({"name": "", "dimension": 5_000}, ["name", "schema.dimension"]),
    ],
)
def test_an_intent_is_held_to_the_rules_of_the_spec_it_begins(films, wrong, fields):
    with pytest.raises(InvalidArgument) as caught:
        actions.draft_create(actor=TESTER, tenant=films, intent=Intent(**{**INTENT.to_dict(), **wrong}))
    assert sorted(fault["field"] for fault in caught.value.details) == sorted(fields)
    assert not Draft.objects.exists()


def test_a_tenant_has_a_bounded_number_of_drafts(films, draft, monkeypatch):
    monkeypatch.setattr(actions, "DRAFTS_MAX", 1)
    with pytest.raises(FailedPrecondition) as caught:
        actions.draft_create(actor=TESTER, tenant=films, intent=INTENT)
    assert "discard one" in caught.value.message
    actions.draft_discard(draft=draft)
    assert actions.draft_create(actor=TESTER, tenant=films, intent=INTENT)


def test_the_first_answer_makes_a_proposal_that_is_a_spec_but_for_reserved_names(films, draft):
    found = read(draft)
    assert found.state == DraftState.READ
    assert found.spec["schema"]["attributes"] == [{"name": "genre", "type": "string"}]
    assert found.spec["source"] == {"uri": "file:movies/", "columns": {"id": "id", "vector": "emb"}}
    assert spec_check(tenant=films, spec=found.spec).schema_.id_type == "string"
    assert "Column `score` is left out: score is a reserved name" in remarks(INTENT, inspection())[0]


def test_what_somebody_expects_and_what_lies_there_may_differ():
    intent = Intent(name="movies", uri="file:movies/", items=2_000_000, dimension=64)
    assert items_of(intent, inspection()) == 2_000_000
    assert items_of(INTENT, inspection()) == 100
    assert items_of(INTENT, inspection(rows=None)) is None
    assert "You said 64 dimensions; the vectors in the drop have 8." in remarks(intent, inspection())


@pytest.mark.parametrize("matters", MATTERS)
@pytest.mark.parametrize("items", [None, 10_000_000])
def test_whatever_matters_the_proposal_can_be_created(films, matters, items):
    intent = Intent(name="movies", uri="file:movies/", items=items, matters=matters)
    spec = proposed_spec(intent, inspection())
    stored = service_create(actor=TESTER, tenant=films, spec=spec).spec
    assert stored["search"]["recall_target"] == {"recall": 0.99, "speed": 0.95}.get(matters, 0.98)
    assert stored["versions"]["standby"] == ("cold" if matters == "memory" else "hot")
    named = stored["engine"]["name"]
    if matters == "memory" and items:
        large = registry.describe(named).item_bytes(8, "cosine", stored["engine"]["params"]).serving
        other = registry.choose(items, 8, filterable=True).name
        assert large < registry.describe(other).item_bytes(8, "cosine", {}).serving
    else:
        assert named == registry.AUTO


def test_a_changed_schema_asks_again_and_anything_else_does_not(draft):
    found = read(draft)
    same = actions.draft_decide(draft=found, spec={"limits": {"qps": 5}, "search": {}})
    assert (same.state, same.spec["limits"]) == (DraftState.READ, {"qps": 5})
    assert "search" not in same.spec
    changed = actions.draft_decide(draft=same, spec={"schema": {**same.spec["schema"], "dimension": 16}})
    assert (changed.state, changed.question) == (DraftState.ASKED, found.question + 1)
    # The answer comes by what was decided, and leaves that alone.
    assert read(changed).spec["schema"]["dimension"] == 16


def test_another_name_keeps_what_was_decided_and_another_source_does_not(draft):
    found = read(draft)
    renamed = actions.draft_intend(draft=found, intent=Intent(name="series", uri="file:movies/", matters="recall"))
    assert (renamed.state, renamed.spec["name"]) == (DraftState.READ, "series")
    assert (renamed.spec["schema"]["dimension"], renamed.spec["search"]) == (8, {"recall_target": 0.99})
    moved = actions.draft_intend(draft=renamed, intent=Intent(name="series", uri="file:series/"))
    assert (moved.state, moved.inspection) == (DraftState.ASKED, None)
    assert "dimension" not in moved.spec["schema"]


def test_an_answer_to_an_older_question_is_not_taken(draft):
    taken = actions.draft_take(draft.pk)
    assert taken is not None
    actions.draft_intend(draft=draft, intent=Intent(name="movies", uri="file:elsewhere/"))
    with pytest.raises(StateConflict):
        actions.draft_answered(draft=taken, inspection=inspection())
    assert Draft.objects.get().inspection is None


def test_two_workers_do_not_take_one_question_and_a_lost_one_is_taken_again_but_not_for_ever(draft):
    for _ in range(actions.TAKES_MAX):
        assert actions.draft_take(draft.pk) is not None
        assert actions.draft_take(draft.pk) is None
        Draft.objects.update(taken_until=timezone.now() - timedelta(seconds=1))
    assert actions.draft_take(draft.pk) is None
    given_up = Draft.objects.get()
    assert (given_up.state, given_up.problem_reason) == (DraftState.UNREADABLE, "READ_GAVE_UP")
    assert actions.draft_read_again(draft=given_up).takes == 0


def test_a_draft_becomes_a_service_once(films, draft):
    found = read(draft)
    service_create(actor=TESTER, tenant=films, spec=found.spec, draft=found)
    assert draft_get(films, draft.token).service == "movies"
    assert list(drafts_of(films)) == []
    with pytest.raises(Conflict) as caught:
        service_create(actor=TESTER, tenant=films, spec={**found.spec, "name": "series"}, draft=found)
    assert caught.value.reason == "DRAFT_DONE"
    assert Service.objects.count() == 1
    with pytest.raises(Conflict):
        actions.draft_decide(draft=found, spec={"limits": {"qps": 5}})
    with pytest.raises(Conflict):
        actions.draft_read_again(draft=found)


def test_a_name_that_is_taken_leaves_the_draft_as_it_was(films, films_service, draft):
    found = read(draft)
    with pytest.raises(Conflict) as caught:
        service_create(actor=TESTER, tenant=films, spec=found.spec, draft=found)
    assert caught.value.reason == "SERVICE_EXISTS"
    assert draft_get(films, draft.token).service == ""


def test_another_tenants_draft_is_not_found(books, draft):
    with pytest.raises(NotFound) as foreign:
        draft_get(books, draft.token)
    with pytest.raises(NotFound) as unknown:
        draft_get(books, "nothing\x00")
    assert foreign.value.message == unknown.value.message


def test_drafts_with_which_nobody_goes_on_are_deleted(films, draft):
    assert actions.drafts_expire() == 0
    Draft.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert list(drafts_of(films)) == []
    assert actions.drafts_expire() == 1
    assert not Draft.objects.exists()
