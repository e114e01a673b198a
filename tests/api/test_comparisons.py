"""Two versions side by side over REST."""

from __future__ import annotations

import pytest
from django.utils import timezone

from catalog.models import Service
from tenants.models import Tenant
from tests.api.conftest import Caller, caller_by_key
from tests.support.history import activated, made_version
from tests.versions.test_comparisons import RESULT, built_beside, done
from versions.models import Version, VersionComparison

VERSIONS = "/tenants/films/services/movies/versions"


def test_a_key_that_may_read_gets_all_that_is_stored(films: Tenant, films_service: Service) -> None:
    built_beside(films_service)
    answer = caller_by_key(films, "read").get(f"{VERSIONS}/2:compare?to=1")
    assert answer.status == 200
    body = answer.body
    assert (body["version"], body["to"], body["state"], body["final"]) == (2, 1, "DONE", True)
    assert (body["items"]["added"], body["items"]["removed"], body["items"]["kept"]) == (30, 10, 90)
    assert body["answers"]["overlap"] == 0.8
    assert {each["name"]: each["difference"] for each in body["figures"]}["items"] == 20


def test_who_asks_again_finds_what_a_worker_found_meanwhile(machine: Caller, films_service: Service) -> None:
    for _ in range(2):
        made_version(films_service)
    first = machine.get(f"{VERSIONS}/2:compare?to=1").body
    assert (first["state"], first["final"], first["items"]) == ("ASKED", False, None)
    assert machine.get(f"{VERSIONS}/1:compare?to=2").body["state"] == "ASKED"
    done(VersionComparison.objects.get(), RESULT)
    body = machine.get(f"{VERSIONS}/2:compare?to=1").body
    assert (body["final"], body["items"]["added"], body["answers"]["score_drift_percent"]) == (True, 5, 100.0)


def test_without_to_the_live_one_is_meant(machine: Caller, films_service: Service) -> None:
    made_version(films_service)
    alone = machine.get(f"{VERSIONS}/1:compare")
    assert (alone.status, alone.error["reason"]) == (400, "NOTHING_TO_COMPARE")
    for _ in range(2):
        activated(made_version(films_service))
    assert machine.get(f"{VERSIONS}/1:compare").body["to"] == 3
    assert machine.get(f"{VERSIONS}/3:compare").body["to"] == 2


@pytest.mark.parametrize("to", ["2", "x", "-1", "1.5", "9" * 30])
def test_a_number_that_cannot_be_right_names_its_field(machine: Caller, films_service: Service, to: str) -> None:
    for _ in range(2):
        made_version(films_service)
    answer = machine.get(f"{VERSIONS}/2:compare?to={to}")
    assert answer.status == 400
    assert [each.get("field") for each in answer.error["details"]] == ["to"]


def test_files_that_are_gone_are_told_and_nobody_is_asked(machine: Caller, films_service: Service) -> None:
    for _ in range(2):
        made_version(films_service)
    Version.objects.filter(number=1).update(files_deleted_at=timezone.now())
    body = machine.get(f"{VERSIONS}/2:compare?to=1").body
    assert (body["state"], body["final"], body["items"], body["error"]) == ("UNAVAILABLE", True, None, None)
    assert "The files of version 1 were deleted" in body["notes"][0]
    assert machine.get(f"{VERSIONS}/2:compare?to=99").status == 404
    assert not VersionComparison.objects.exists()


def test_a_stranger_cannot_have_anything_compared(films_service: Service, books: Tenant) -> None:
    for _ in range(2):
        made_version(films_service)
    assert caller_by_key(books).get(f"{VERSIONS}/2:compare?to=1").status == 404
    assert not VersionComparison.objects.exists()
