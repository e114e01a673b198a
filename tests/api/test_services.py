"""Services, builds and versions over REST."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.db.models.functions import Now

from catalog.models import Service
from tenants.models import Tenant
from tests.api.conftest import Caller
from tests.factories import make_spec
from versions.models import Activation, Build, BuildStep, Node, Replica, Version

SERVICES = "/tenants/films/services"
MOVIES = f"{SERVICES}/movies"


def make_version(service: Service, number: int, *, once_live: bool = True) -> Version:
    """A READY version, loaded on a node."""
    build = Build.objects.create(
        service=service, number=number, spec=service.spec, spec_generation=1, requested_by="tests"
    )
    BuildStep.objects.create(build=build, name="resolve_drop", position=0)
    version = Version.objects.create(
        service=service, number=number, build=build, state="READY", spec=service.spec, items=10, created_by="tests"
    )
    if once_live:
        Version.objects.filter(pk=version.pk).update(activated_at=version.created_at)
    node, _ = Node.objects.get_or_create(name="local")
    Replica.objects.create(version=version, node=node, state="READY", address="unix:/tmp/r.sock")
    return version


@pytest.fixture
def two_versions(films_service: Service) -> Service:
    """Version 2 of films/movies is live, version 1 was."""
    make_version(films_service, 1)
    make_version(films_service, 2)
    Service.objects.filter(pk=films_service.pk).update(live_version=2, live_generation=2, builds_count=2)
    films_service.refresh_from_db()
    return films_service


def test_a_service_comes_back_with_every_default_filled_in(machine: Caller, films: Tenant) -> None:
    made = machine.post(SERVICES, make_spec())
    assert made.status == 201
    assert (made.body["name"], made.body["tenant"], made.body["live_version"]) == ("movies", "films", None)
    assert made.body["guards"]["max_drop_percent"] == 20
    assert made.body["engine"]["name"] == "flat"
    assert machine.get(MOVIES).body == made.body
    assert machine.get(SERVICES).body["services"] == [made.body]


def test_a_second_service_of_that_name_is_refused(machine: Caller, films_service: Service) -> None:
    answer = machine.post(SERVICES, make_spec())
    assert (answer.status, answer.error["code"], answer.error["reason"]) == (409, "ALREADY_EXISTS", "SERVICE_EXISTS")


def test_a_source_that_leaves_its_root_is_refused(machine: Caller, films: Tenant) -> None:
    for uri in ("file:../books/", "file:///etc/", "s3://bucket/films/", "file::zip:films"):
        answer = machine.post(SERVICES, make_spec(source={"uri": uri}))
        assert (answer.status, answer.error["details"][0]["field"]) == (400, "source.uri")
    assert not Service.objects.exists()


def test_the_quota_holds(machine: Caller, admin: Caller, films_service: Service) -> None:
    admin.patch("/tenants/films/quota", {"services_max": 1})
    answer = machine.post(SERVICES, make_spec("series"))
    assert (answer.status, answer.error["code"]) == (429, "RESOURCE_EXHAUSTED")


def test_a_patch_changes_what_it_names_and_nothing_else(machine: Caller, films_service: Service) -> None:
    before = machine.get(MOVIES).body
    after = machine.patch(MOVIES, {"limits": {"qps": 5}, "guards": {"min_items": 7}}).body
    assert after["limits"] == {**before["limits"], "qps": 5}
    assert after["guards"] == {**before["guards"], "min_items": 7}
    assert after["spec_generation"] == before["spec_generation"] + 1
    assert after["schema"] == before["schema"]


def test_a_patch_with_a_fault_names_it_and_changes_nothing(machine: Caller, films_service: Service) -> None:
    before = machine.get(MOVIES).body
    answer = machine.patch(MOVIES, {"limits": {"qps": 0}, "name": "series"})
    assert (answer.status, answer.error["code"]) == (400, "INVALID_ARGUMENT")
    assert machine.get(MOVIES).body == before


def test_a_deleted_service_is_gone_and_its_name_is_free(machine: Caller, films_service: Service) -> None:
    assert machine.delete(MOVIES).status == 204
    assert machine.get(MOVIES).status == 404
    assert machine.post(SERVICES, make_spec()).status == 201


def test_clearing_wants_a_reason_and_leaves_nothing_live(machine: Caller, two_versions: Service) -> None:
    assert machine.post(f"{MOVIES}:clear", {}).error["details"][0]["field"] == "reason"
    cleared = machine.post(f"{MOVIES}:clear", {"reason": "a legal order"})
    assert (cleared.status, cleared.body["live_version"], cleared.body["live"]) == (200, None, None)
    assert cleared.body["held"]["reason"] == "Cleared: a legal order."
    assert machine.post(f"{MOVIES}:clear", {"reason": "again"}).body == cleared.body
    back = machine.post(f"{MOVIES}:activate", {"version": 1, "reason": "cleared by mistake"})
    assert (back.body["from_version"], back.body["to_version"]) == (None, 1)


def test_a_hold_wants_a_reason_and_is_released(machine: Caller, films_service: Service) -> None:
    assert machine.post(f"{MOVIES}:hold", {}).error["details"][0]["field"] == "reason"
    assert machine.post(f"{MOVIES}:hold", {"reason": "a holiday"}).body["held"]["reason"] == "a holiday"
    assert machine.post(f"{MOVIES}:release").body["held"] is None


def test_a_build_is_asked_for_and_read(machine: Caller, films_service: Service) -> None:
    asked = machine.post(f"{MOVIES}:build", {"drop": "2026-11-21"})
    assert (asked.status, asked.body["number"], asked.body["state"]) == (201, 1, "PENDING")
    assert asked.body["drop"]["name"] == "2026-11-21"
    read = machine.get(f"{MOVIES}/builds/1").body
    assert {name: read[name] for name in asked.body} == asked.body
    [line] = read["log"]
    assert (line["level"], line["text"].partition(" ")[2]) == ("info", "asks for a build of drop 2026-11-21.")
    assert machine.get(f"{MOVIES}/builds").body["builds"] == [asked.body]


@pytest.mark.parametrize("drop", ["a" * 300, "a\x00b", 7.5e300, ["a"]])
def test_a_drop_that_no_folder_is_called_is_refused(machine: Caller, films_service: Service, drop: Any) -> None:
    answer = machine.post(f"{MOVIES}:build", {"drop": drop})
    if answer.status == 201:
        # Numbers are taken as text.
        assert answer.body["drop"]["name"] == str(drop)
    else:
        assert (answer.status, answer.error["details"][0]["field"]) == (400, "drop")


def test_a_waiting_build_is_cancelled_once(machine: Caller, films_service: Service) -> None:
    machine.post(f"{MOVIES}:build", {})
    cancelled = machine.post(f"{MOVIES}/builds/1:cancel")
    assert (cancelled.status, cancelled.body["state"]) == (200, "CANCELLED")
    again = machine.post(f"{MOVIES}/builds/1:cancel")
    assert (again.status, again.error["code"]) == (409, "ABORTED")


def test_a_build_that_has_not_failed_is_not_retried_nor_overridden(machine: Caller, films_service: Service) -> None:
    machine.post(f"{MOVIES}:build", {})
    assert machine.post(f"{MOVIES}/builds/1:retry").status == 409
    assert machine.post(f"{MOVIES}/builds/1:override", {"reason": "known"}).status == 409
    assert machine.post(f"{MOVIES}/builds/1:override", {}).error["details"][0]["field"] == "reason"


def test_a_failed_build_says_cause_effect_and_next_step(machine: Caller, two_versions: Service) -> None:
    Build.objects.filter(service=two_versions, number=2).update(
        state="FAILED", error_reason="drop.dimension_mismatch", error_owner="user", error_message="64, not 4"
    )
    error = machine.get(f"{MOVIES}/builds/2").body["error"]
    assert (error["reason"], error["owner"]) == ("drop.dimension_mismatch", "user")
    assert error["effect"] == "Version 2 is still serving."
    assert machine.post(f"{MOVIES}/builds/2:retry").body["state"] == "PENDING"


def test_versions_are_listed_newest_first_with_live_marked(machine: Caller, two_versions: Service) -> None:
    listed = machine.get(f"{MOVIES}/versions").body["versions"]
    assert [(version["number"], version["live"]) for version in listed] == [(2, True), (1, False)]
    assert machine.get(f"{MOVIES}/versions/1").body == listed[1]


def test_a_rollback_goes_back_once_however_often_it_is_asked(machine: Caller, two_versions: Service) -> None:
    body = {"from_version": 2, "reason": "the drop was bad"}
    done = machine.post(f"{MOVIES}:rollback", body)
    assert (done.status, done.body["from_version"], done.body["to_version"], done.body["changed"]) == (200, 2, 1, True)
    assert machine.get(MOVIES).body["live_version"] == 1
    assert machine.get(f"{MOVIES}/versions/2").body["bad"]["reason"] == "the drop was bad"
    again = machine.post(f"{MOVIES}:rollback", body)
    assert (again.status, again.body["changed"]) == (200, False)
    assert Activation.objects.count() == 1


@pytest.mark.parametrize("verb", ["rollback", "activate"])
def test_a_version_that_is_not_well_is_gone_to_only_by_who_says_so(
    machine: Caller, two_versions: Service, verb: str
) -> None:
    Replica.objects.filter(version__number=1).update(sick_reason="AWAY", sick_since=Now())
    body = {"version": 1} if verb == "activate" else {}
    refused = machine.post(f"{MOVIES}:{verb}", body)
    assert (refused.status, refused.error["code"], refused.error["reason"]) == (
        400,
        "FAILED_PRECONDITION",
        "VERSION_NOT_WELL",
    )
    assert "`anyway`" in refused.error["message"]
    assert machine.get(MOVIES).body["live_version"] == 2
    done = machine.post(f"{MOVIES}:{verb}", {**body, "anyway": True})
    assert (done.status, done.body["to_version"]) == (200, 1)


def test_there_may_be_nothing_to_roll_back_to(machine: Caller, films_service: Service) -> None:
    answer = machine.post(f"{MOVIES}:rollback", {})
    assert (answer.status, answer.error["code"], answer.error["reason"]) == (
        400,
        "FAILED_PRECONDITION",
        "NO_LIVE_VERSION",
    )


def test_a_loaded_version_is_activated(machine: Caller, two_versions: Service) -> None:
    done = machine.post(f"{MOVIES}:activate", {"version": 1, "reason": "a comparison"})
    assert (done.status, done.body["to_version"], done.body["kind"]) == (200, 1, "activate")


def test_an_activation_that_expects_another_generation_changes_nothing(machine: Caller, two_versions: Service) -> None:
    answer = machine.post(f"{MOVIES}:activate", {"version": 1, "expected_live_generation": 1})
    assert (answer.status, answer.error["code"], answer.error["reason"]) == (409, "ABORTED", "LIVE_MOVED")
    assert machine.get(MOVIES).body["live_version"] == 2


@pytest.mark.parametrize("version", [0, -1, 2**40, "one", None])
def test_a_version_that_cannot_be_is_refused(machine: Caller, two_versions: Service, version: Any) -> None:
    answer = machine.post(f"{MOVIES}:activate", {"version": version})
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "version")


def test_a_version_that_does_not_exist_is_not_found(machine: Caller, two_versions: Service) -> None:
    assert machine.post(f"{MOVIES}:activate", {"version": 3}).error["reason"] == "VERSION_NOT_FOUND"
    assert machine.get(f"{MOVIES}/versions/999999999").error["reason"] == "VERSION_NOT_FOUND"
    assert machine.get(f"{MOVIES}/builds/999999999").error["reason"] == "BUILD_NOT_FOUND"


def test_replicas_tell_where_versions_are_loaded(machine: Caller, two_versions: Service) -> None:
    listed = machine.get(f"{MOVIES}/replicas?page_size=1").body
    assert [(replica["version"], replica["node"], replica["state"]) for replica in listed["replicas"]] == [
        (2, "local", "READY")
    ]
    rest = machine.get(f"{MOVIES}/replicas?page_token={listed['next_page_token']}").body["replicas"]
    assert [replica["version"] for replica in rest] == [1]


def test_replicas_tell_how_well_they_are_and_what_they_serve(machine: Caller, two_versions: Service) -> None:
    found = {"verdict": "WRONG", "agreement": 0.3, "p99_ms": 2.5, "served_version": 7, "audited_at": Now()}
    sick = {"sick_reason": "WRONG", "sick_since": Now(), "withheld": True, "cures": 1}
    Replica.objects.filter(version__number=2).update(**found, **sick)
    wrong, well = machine.get(f"{MOVIES}/replicas").body["replicas"]
    assert (wrong["verdict"], wrong["agreement"], wrong["p99_ms"], wrong["cures"]) == ("WRONG", 0.3, 2.5, 1)
    assert (wrong["version"], wrong["served_version"], wrong["skewed"], wrong["routed"]) == (2, 7, True, False)
    assert (wrong["sick"]["reason"], wrong["sick"]["since"] <= wrong["audited_at"]) == ("WRONG", True)
    assert (well["sick"], well["verdict"], well["served_version"], well["skewed"]) == (None, "", None, False)


def test_lists_ask_the_database_as_often_for_many_as_for_few(
    machine: Caller, two_versions: Service, django_assert_max_num_queries: Any
) -> None:
    for number in range(3, 12):
        make_version(two_versions, number)
    # The first call of a key in a minute notes that it was used.
    machine.get(MOVIES)
    for path in ("builds", "versions", "replicas"):
        with django_assert_max_num_queries(8):
            machine.get(f"{MOVIES}/{path}")


def test_the_audit_trail_of_a_service(machine: Caller, two_versions: Service) -> None:
    machine.post(f"{MOVIES}:rollback", {"reason": "the drop was bad"})
    event = machine.get(f"{MOVIES}/audit").body["events"][0]
    assert (event["verb"], event["reason"]) == ("service.rollback", "the drop was bad")
    assert (event["before"]["live_version"], event["after"]["live_version"]) == (2, 1)


def test_discovery_tells_where_to_ask(machine: Caller, films_service: Service) -> None:
    assert machine.get("/discovery/films/movies").body == {
        "service": "tenants/films/services/movies",
        "gateway": settings.GATEWAY_ADDRESS,
    }


def test_administrators_see_the_nodes(admin: Caller, machine: Caller, two_versions: Service) -> None:
    assert [node["name"] for node in admin.get("/nodes").body["nodes"]] == ["local"]
    assert machine.get("/nodes").status == 403
