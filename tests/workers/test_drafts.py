"""Workers look into the sources of drafts: with the real child process, real files, and messages that get lost."""

from __future__ import annotations

import json
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.utils import timezone

from catalog.actions import drafts as actions
from catalog.intents import Intent
from catalog.models import Draft
from catalog.states import DraftState
from tests.factories import TESTER
from workers import doorbell, drafts, tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def movies(films, tmp_path, settings):
    """The folder of file:movies/."""
    settings.RECALL_DROPS = tmp_path
    folder = tmp_path / "films" / "movies"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def draft(films, movies) -> Draft:
    return actions.draft_create(actor=TESTER, tenant=films, intent=Intent(name="movies", uri="file:movies/"))


def deliver(folder, name: str = "20261121") -> None:
    drop = folder / name
    drop.mkdir()
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0], None], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": [1, 2, 3], "vector": vectors, "genre": ["a", "b", "a"]}), drop / "items-0.parquet")
    (drop / "manifest.json").write_text(json.dumps({"items": ["items-*.parquet"]}))


def now() -> Draft:
    return Draft.objects.get()


def test_a_look_proposes_and_checks(draft, movies, valkey):
    deliver(movies)
    tasks.read_draft(draft.pk, colour="blue")
    found = now()
    assert (found.state, found.inspection["drop"]) == (DraftState.READ, "20261121")
    assert found.spec["schema"]["dimension"] == 2
    assert found.inspection["check"]["reasons"] == {"null_vector": 1}


def test_a_source_that_cannot_be_read_says_why_and_is_read_once_it_can(draft, movies, valkey):
    tasks.read_draft(draft.pk)
    empty = now()
    assert (empty.state, empty.inspection) == (DraftState.UNREADABLE, None)
    assert empty.problem_reason.startswith("DROP_")
    assert empty.problem
    deliver(movies)
    tasks.read_draft(actions.draft_read_again(draft=empty).pk)
    assert (now().state, now().problem) == (DraftState.READ, "")


def test_the_second_look_judges_by_what_was_decided(draft, movies, valkey):
    deliver(movies)
    tasks.read_draft(draft.pk)
    schema = {**now().spec["schema"], "dimension": 7}
    tasks.read_draft(actions.draft_decide(draft=now(), spec={"schema": schema}).pk)
    assert now().inspection["check"]["problem"]["reason"] == "drop.dimension_mismatch"
    # What no spec may say is no reason to look.
    worse = actions.draft_decide(draft=now(), spec={"schema": {**schema, "dimension": 0}})
    tasks.read_draft(worse.pk)
    assert (now().state, now().problem_reason) == (DraftState.UNREADABLE, "INVALID_SPEC")


def test_while_one_look_is_under_way_others_wait_for_the_tick(draft, movies, valkey, monkeypatch):
    deliver(movies)
    with doorbell.alone("drafts", seconds_max=10):
        tasks.read_draft(draft.pk)
    assert now().state == DraftState.ASKED
    rung = []
    monkeypatch.setattr(drafts, "ring", lambda name, key: rung.append((name, key)))
    tasks.sweep_drafts()
    assert rung == [], "it was only just asked"
    Draft.objects.update(asked_at=timezone.now() - timedelta(seconds=10))
    tasks.sweep_drafts()
    tasks.sweep_drafts()
    assert rung == [("draft.read", draft.pk)]


def test_a_draft_whose_worker_died_is_rung_for(draft, valkey, monkeypatch):
    assert actions.draft_take(draft.pk) is not None
    Draft.objects.update(taken_until=timezone.now() - timedelta(seconds=1))
    rung = []
    monkeypatch.setattr(drafts, "ring", lambda *sent: rung.append(sent))
    tasks.sweep_drafts()
    assert rung == [("draft.read", draft.pk)]


def test_what_is_asked_meanwhile_is_not_answered_with_the_old_answer(draft, movies, valkey, monkeypatch):
    deliver(movies)
    found = drafts.source_inspect(tenant=draft.tenant, uri="file:movies/")

    def inspect(**asked):
        actions.draft_intend(draft=now(), intent=Intent(name="movies", uri="file:other/"))
        return found

    monkeypatch.setattr(drafts, "source_inspect", inspect)
    tasks.read_draft(draft.pk)
    assert (now().state, now().inspection) == (DraftState.ASKED, None)
