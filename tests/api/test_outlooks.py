"""What was asked of a service, and what a spec would mean, over REST."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from catalog.actions.drafts import draft_create
from catalog.intents import Intent
from catalog.models import Service
from console.wizard.outlook import outlook as wizards_outlook
from documents.traffic import SPAN_SECONDS
from tenants.actions import quota_update
from tenants.models import Tenant
from tests.api.conftest import Caller, caller_by_key
from tests.console.series import write_series
from tests.factories import TESTER, make_spec
from tests.support.history import activated, made_version, refreshed
from tests.support.traffic import asked, calls, newest_span
from versions.models import Activation
from workers import drafts

METRICS = "/tenants/films/services/movies/metrics"
ESTIMATE = "/tenants/films/services:estimate"
SERIES = {"schema": {"dimension": 8, "metric": "ip"}, "source": {"uri": "file:series/"}, "engine": "auto"}


def wait_for_the_early_part_of_a_span() -> None:
    """So that what is asked and told now falls into one span, also on a busy machine."""
    while time.time() % SPAN_SECONDS > SPAN_SECONDS / 2:
        time.sleep(0.1)


def test_the_traffic_of_a_service_is_told_oldest_first(owner: Caller, films_service: Service) -> None:
    wait_for_the_early_part_of_a_span()
    asked(films_service, calls(50, queries=500), spans_ago=1)
    asked(films_service, calls(20, codes={"OK": 15, "UNAVAILABLE": 5}))
    told = owner.get(f"{METRICS}?hours=1").body
    assert (told["step_seconds"], len(told["points"])) == (SPAN_SECONDS, 360)
    before, newest = told["points"][-2:]
    assert (before["queries_per_second"], newest["queries_per_second"]) == (50.0, 2.0)
    assert (before["errors"], newest["errors"]) == ({}, {"UNAVAILABLE": 5})
    assert before["p99_ms"] == pytest.approx(1.99)
    assert newest["at"] == newest_span().isoformat().replace("+00:00", "Z")
    assert told["points"][0]["p99_ms"] is None


def test_a_day_is_told_in_as_many_points_as_are_asked_for_and_no_call_is_lost(
    owner: Caller, films_service: Service
) -> None:
    asked(films_service, calls(7, codes={"OK": 6, "INTERNAL": 1}), spans_ago=5)
    for query, points in (("", 360), ("?points=1", 1), ("?points=8640", 8640), ("?hours=24&points=24", 24)):
        told = owner.get(f"{METRICS}{query}").body
        assert points <= len(told["points"]) <= points + 1
        asked_for = sum(point["queries_per_second"] for point in told["points"]) * told["step_seconds"]
        assert asked_for == pytest.approx(7, abs=0.1)
        assert sum(point["errors"].get("INTERNAL", 0) for point in told["points"]) == 1


def test_switches_stand_beside_it(owner: Caller, films_service: Service) -> None:
    activated(made_version(films_service))
    Activation.objects.update(at=timezone.now() - timedelta(minutes=30))
    activated(made_version(refreshed(films_service)))
    told = owner.get(f"{METRICS}?hours=1").body["switches"]
    assert [(switch["from_version"], switch["to_version"], switch["kind"]) for switch in told] == [
        (None, 1, "activate"),
        (1, 2, "activate"),
    ]
    assert told[0]["at"].endswith("Z")


@pytest.mark.parametrize("query", ["hours=0", "hours=25", "hours=soon", "points=0", "points=8641", "points=²"])
def test_what_cannot_be_told_is_refused_with_the_field(owner: Caller, films_service: Service, query: str) -> None:
    answer = owner.get(f"{METRICS}?{query}")
    assert (answer.status, answer.error["details"][0]["field"]) == (400, query.split("=")[0])


@pytest.fixture
def drop_of_series(tmp_path: Path, settings: Any) -> None:
    """60 items at file:series/."""
    settings.RECALL_DROPS = tmp_path
    write_series(tmp_path)


@pytest.mark.usefixtures("drop_of_series")
def test_an_estimate_tells_what_the_wizard_tells_of_the_same_spec(owner: Caller, films: Tenant) -> None:
    draft = draft_create(actor=TESTER, tenant=films, intent=Intent(name="series", uri="file:series/", dimension=8))
    drafts.read(draft.pk)
    draft.refresh_from_db()
    told = owner.post(ESTIMATE, {"spec": draft.spec})
    assert told.status == 200
    assert (told.body["exists"], told.body["drop"], told.body["problem"]) == (False, "20261121", "")
    same = wizards_outlook(films, draft, draft.spec)
    assert same.estimate is not None
    expected = same.estimate.to_dict()
    assert told.body["estimate"] == {**expected, "shares": list(expected["shares"])}
    assert told.body["fits"] is True
    assert not Service.objects.exists(), "nothing is registered"


@pytest.mark.usefixtures("drop_of_series")
def test_more_items_than_the_drop_holds_count_and_what_does_not_fit_is_said(owner: Caller, films: Tenant) -> None:
    quota_update(actor=TESTER, tenant=films, items_max=1_000)
    told = owner.post(ESTIMATE, {"spec": {"name": "series", **SERIES}, "items": 5_000_000}).body
    assert told["estimate"]["items"] == 5_000_000
    assert told["fits"] is False
    assert [share["name"] for share in told["estimate"]["shares"] if not share["fits"]][:1] == ["items_max"]


def test_without_a_drop_it_tells_why_and_reckons_with_what_is_said(owner: Caller) -> None:
    spec = {"name": "series", **SERIES}
    unknown = owner.post(ESTIMATE, {"spec": spec}).body
    assert (unknown["estimate"], unknown["fits"], unknown["drop"]) == (None, None, "")
    assert unknown["problem"] != ""
    assert owner.post(ESTIMATE, {"spec": spec, "items": 1_000}).body["estimate"]["items"] == 1_000


def test_every_fault_of_the_spec_is_told(owner: Caller) -> None:
    spec = {"name": "Series!", "schema": {"dimension": -1}, "source": {"uri": "file:series/"}}
    answer = owner.post(ESTIMATE, {"spec": spec})
    assert answer.status == 400
    assert {fault["field"] for fault in answer.error["details"]} >= {"name", "schema.dimension"}


def test_a_service_that_is_there_is_changed_in_thought_and_gives_back_what_it_takes(
    owner: Caller, films: Tenant, films_service: Service
) -> None:
    version = activated(made_version(films_service))
    quota_update(actor=TESTER, tenant=films, services_max=1, items_max=version.items)
    change = {"name": "movies", "limits": {"qps": 77}}
    told = owner.post(ESTIMATE, {"spec": change, "items": version.items}).body
    assert (told["exists"], told["spec"]["limits"]["qps"]) == (True, 77)
    shares = {share["name"]: share for share in told["estimate"]["shares"]}
    assert (shares["services_max"]["used"], shares["items_max"]["used"]) == (0, 0)
    assert told["fits"] is True
    assert refreshed(films_service).spec["limits"]["qps"] != 77
    other = owner.post(ESTIMATE, {"spec": make_spec("shows"), "items": 1}).body
    too_much = [share["name"] for share in other["estimate"]["shares"] if not share["fits"]]
    assert too_much == ["services_max", "items_max"]


def test_a_key_that_only_reads_has_no_sources_looked_into(films: Tenant) -> None:
    answer = caller_by_key(films, scope="read").post(ESTIMATE, {"spec": make_spec("shows")})
    assert answer.status == 403
