"""Switching versions from the shell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from django.db.models.functions import Now

from cli import comparisons
from cli.errors import EXIT_NOT_FOUND
from recallpb.internal.v1 import documents_pb2
from tests.cli.conftest import Recall
from tests.support.history import activated, made_version, unfinished_version
from tests.support.valkey import running_valkey
from tests.versions.test_comparisons import built_beside, done
from versions import actions
from versions.models import Replica, Version, VersionComparison

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import SettingsWrapper

    from catalog.models import Service
    from tests.support.valkey import Valkey


@pytest.fixture
def valkey(settings: SettingsWrapper) -> Iterator[Valkey]:
    with running_valkey() as server:
        settings.REDIS_URL = server.url
        yield server


def serving(valkey: Valkey, gateway: str, generation: int) -> None:
    """A gateway that is there and serves `films/movies` at this generation."""
    stamp = documents_pb2.Stamp(epoch=1, generation=generation)
    report = documents_pb2.GatewayReport(gateway=gateway, serving={"films/movies": stamp})
    valkey.client().set(f"recall:gateway:{gateway}", report.SerializeToString(), ex=60)


def test_a_rollback_says_that_it_holds_the_service_and_that_all_gateways_serve(
    local: Recall, films_service: Service, valkey: Valkey
) -> None:
    for _ in range(2):
        activated(made_version(films_service))
    serving(valkey, "g1", 10**6)

    ran = local("rollback", "movies", "--reason", "half the ids are gone")

    assert ran.code == 0
    assert "gateways  all of them serve it" in ran.out
    assert "`recall service release movies`" in ran.err
    again = local("rollback", "movies", "--from-version", "2", "--reason", "a second click")
    assert "Nothing changed" in again.err
    assert "release" not in again.err


def test_a_switch_to_a_version_that_is_not_well_is_refused_unless_somebody_wants_it_anyway(
    local: Recall, films_service: Service, valkey: Valkey
) -> None:
    for _ in range(2):
        activated(made_version(films_service))
    serving(valkey, "g1", 10**6)
    Replica.objects.filter(version__number=1).update(sick_reason="AWAY", sick_since=Now())

    for command in (("rollback", "movies"), ("activate", "movies", "1")):
        refused = local(*command)
        assert refused.code != 0
        assert "the server that its engine asks is away" in str(refused.error)
        assert "--anyway" in str(refused.error)

    gone = local("rollback", "movies", "--anyway")
    assert (gone.code, "live      1" in gone.out) == (0, True)
    Replica.objects.update(sick_reason="", sick_since=None)
    Replica.objects.filter(version__number=2).update(sick_reason="WRONG", sick_since=Now())
    assert local("activate", "movies", "2").code != 0
    assert local("activate", "movies", "2", "--anyway").code == 0


def test_replicas_say_what_is_sick_and_which_version_each_serves(local: Recall, films_service: Service) -> None:
    activated(made_version(films_service))
    said = {"verdict": "WRONG", "sick_reason": "WRONG", "sick_since": Now(), "withheld": True, "served_version": 7}
    Replica.objects.update(**said)

    ran = local("replicas", "movies")

    assert ran.code == 0
    assert all(word in ran.out for word in ("serves 7", "not routed", "WRONG", "READY"))


def test_a_release_says_what_happens_next(local: Recall, films_service: Service) -> None:
    local("service", "hold", "movies", "--reason", "launch week")

    assert "The next build that meets its guards goes live by itself." in local("service", "release", "movies").err
    assert "by itself" not in local("service", "release", "movies").err


def test_a_list_of_versions_gives_the_reason_of_one_that_failed(local: Recall, films_service: Service) -> None:
    claim, _ = unfinished_version(films_service)
    actions.build_fail(claim, reason="replica.load_failed", owner="platform", message="No node had memory for it.")
    assert "No node had memory for it." in local("versions", "movies").out


def test_a_list_of_versions_gives_the_reason_of_a_rollback(local: Recall, films_service: Service) -> None:
    for version in (made_version(films_service), made_version(films_service)):
        activated(version)
    local("rollback", "movies", "--reason", "Old titles came back.")
    assert "Old titles came back." in local("versions", "movies").out


def test_a_list_of_versions_gives_the_places_of_those_that_have_one(local: Recall, films_service: Service) -> None:
    made_version(films_service)
    assert "place" not in local("versions", "movies").out
    made_version(films_service, report={"index": {"places": ["green"]}})
    heading, _, placed, files = local("versions", "movies").out.splitlines()
    assert "place" in heading
    assert ("green" in placed, "green" in files) == (True, False)


REPORT = {
    "overridden": [
        {
            "by": "alice",
            "why": "we know",
            "evidence": [{"name": "bad_share", "what": "Bad rows", "value": 0.00004, "limit": 0.00001}],
        },
        {"by": "bob", "why": "", "reason": "group.incomplete", "message": "The other one lags.", "evidence": []},
    ],
    "evidence": [
        {
            "name": "min_recall",
            "what": "Recall against exact search",
            "value": 0.98765,
            "bound": "at least",
            "limit": 0.9,
            "unit": "",
            "verdict": "pass",
            "note": "recall@100 on 200 queries",
        },
        {
            "name": "min_recall",
            "what": "Sampled rows found",
            "value": 1,
            "bound": "at least",
            "limit": 0.9,
            "unit": "",
            "verdict": "pass",
            "note": "",
        },
        {
            "name": "p99_ratio",
            "what": "p99 beside the live version's",
            "value": None,
            "bound": "at most",
            "limit": 3,
            "unit": "x",
            "verdict": "pass",
            "note": "",
        },
        {
            "name": "items",
            "what": "Items",
            "value": 62_345.6,
            "bound": "",
            "limit": None,
            "unit": "items",
            "verdict": "pass",
            "note": "",
        },
    ],
    "tune": {
        "effort": "ef",
        "at": 100,
        "search_params": {"ef": 200},
        "queries": 500,
        "asked": "sampled queries",
        "tuned": True,
        "reached": False,
        "recall_target": 0.99,
        "queries_note": "The drop brought too few queries.",
        "curve": [{"ef": 100, "recall": 0.91, "ms": 0.2}, {"ef": 200, "recall": 0.98765, "ms": 0.4}],
    },
}


def test_one_version_is_told_with_its_evidence(local: Recall, films_service: Service) -> None:
    activated(made_version(films_service, report=REPORT))
    ran = local("versions", "movies", "1")
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "version 1 (live)" in lines
    assert "Bad rows bad_share 4e-05 1e-05 let pass alice: we know" in lines
    assert "The other one lags. group.incomplete – – let pass bob" in lines
    assert "Recall against exact search min_recall 0.9877 at least 0.9 pass recall@100 on 200 queries" in lines
    assert "Sampled rows found min_recall 1 at least 0.9 pass" in lines
    assert "p99 beside the live version's p99_ratio – at most 3 x not measured" in lines
    assert "Items items 62,345.6 items none not judged" in lines
    assert "200 0.9877 0.400 chosen" in lines
    assert "100 0.9100 0.200" in lines
    assert "Measured with 500 sampled queries against exact search." in ran.err
    assert "The target of 0.99 was not reached. The drop brought too few queries." in ran.err


def test_one_version_is_one_value_for_programs_and_an_unknown_one_is_no_such_thing(
    local: Recall, films_service: Service
) -> None:
    made_version(films_service, report=REPORT)
    assert json.loads(local("versions", "movies", "1", "--json").out)["report"]["tune"]["at"] == 100
    assert local("versions", "movies", "2").code == EXIT_NOT_FOUND


def test_a_switch_names_the_gateways_that_lag_behind(local: Recall, films_service: Service, valkey: Valkey) -> None:
    version = made_version(films_service)
    serving(valkey, "g1", 10**6)
    serving(valkey, "g2", 0)
    ran = local("activate", "movies", str(version.number))
    assert ran.code == 0
    assert "not yet served by g2" in ran.out


def test_a_list_of_versions_says_until_when_one_retires(local: Recall, films_service: Service) -> None:
    old = activated(made_version(films_service))
    for _ in range(2):
        activated(made_version(films_service))
    actions.version_retire(version=old)
    Version.objects.filter(pk=old.pk).update(retiring_at="2026-11-21T23:47:35.5Z")
    [retiring] = [line for line in local("versions", "movies").out.splitlines() if "RETIRING" in line]
    assert "RETIRING until 2026-11-22 00:47:35" in retiring


def test_two_versions_are_told_side_by_side(local: Recall, films_service: Service) -> None:
    built_beside(films_service)
    ran = local("compare", "movies", "2", "--to", "1")
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "items 120 100 +20" in lines
    assert "added 30 7, 9" in lines
    assert "overlap at 100 0.8000 by its build, on replicas of both" in lines
    assert "drop drop-0002 drop-0001" in lines
    assert local("compare", "movies", "2", "--json").data["to"] == 1


def test_who_does_not_wait_is_told_what_is_under_way(local: Recall, films_service: Service) -> None:
    for _ in range(2):
        made_version(films_service)
    ran = local("compare", "movies", "2", "--to", "1", "--no-wait")
    assert "The items are not compared (yet)." in ran.err
    assert "ask again" in ran.err


def test_who_waits_is_told_when_it_is_done(
    local: Recall, films_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        made_version(films_service)
    # The worker is done while the command sleeps.
    monkeypatch.setattr(comparisons.time, "sleep", lambda _: done(VersionComparison.objects.get()))
    ran = local("compare", "movies", "2", "--to", "1")
    assert "added 5 5" in [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "ask again" not in ran.err
