"""Services: registered, changed, held, deleted; within quotas, each with its audit event."""

from __future__ import annotations

import os

import pytest

from audit.selectors import events_of
from catalog.actions import (
    service_create,
    service_delete,
    service_hold,
    service_release,
    service_update,
)
from catalog.models import Service
from catalog.selectors import engine_choices, living_services_of, service_get, services_of
from common.actor import Actor
from common.errors import Conflict, InvalidArgument, NotFound, QuotaExceeded
from engines import registry
from tenants.actions import key_create, quota_update, tenant_delete
from tenants.permissions import caller_of_key, caller_of_user
from tenants.selectors import key_verify
from tests.factories import TESTER, make_service, make_spec

ALICE = Actor(kind="user", name="alice", request_id="r-1", address="10.0.0.1")


def now(service: Service) -> Service:
    return Service.objects.get(pk=service.pk)


def test_it_registers_a_service_with_every_default(films):
    service = service_create(actor=ALICE, tenant=films, spec=make_spec("movies"))
    assert (service.name, service.live_version, service.spec_generation, service.created_by) == (
        "movies",
        None,
        1,
        "alice",
    )
    assert service.spec["limits"]["qps"] == 1_000
    assert "name" not in service.spec
    (event, _) = events_of("films")
    assert (event.verb, event.actor, event.address, event.request_id, event.service, event.after) == (
        "service.create",
        "alice",
        "10.0.0.1",
        "r-1",
        "movies",
        service.spec,
    )


def test_it_tells_the_gateways_of_a_new_service_after_the_commit(films, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        make_service(films)
    assert len(callbacks) == 1


def test_it_registers_nothing_when_the_spec_has_a_fault(films):
    with pytest.raises(InvalidArgument) as caught:
        service_create(actor=ALICE, tenant=films, spec=make_spec("movies", schema={"dimension": 0}))
    assert caught.value.field == "schema.dimension"
    assert not Service.objects.exists()
    assert [event.verb for event in events_of("films")] == ["tenant.create"]


def test_it_refuses_a_name_that_is_taken(films_service, films):
    with pytest.raises(Conflict) as caught:
        make_service(films, "movies")
    assert (caught.value.reason, caught.value.field) == ("SERVICE_EXISTS", "name")


def test_two_tenants_may_use_one_name(films_service, books):
    assert make_service(books, "movies").name == "movies"


def test_a_source_stays_in_the_tenants_own_folder(films, books, settings, tmp_path):
    # A folder of its own, because the link would lead other tests out as well.
    drops = settings.RECALL_DROPS = tmp_path
    (drops / "books" / "novels").mkdir(parents=True)
    (drops / "films").mkdir()
    os.symlink(drops / "books" / "novels", drops / "films" / "elsewhere")
    for uri in (f"file://{drops}/books/novels/", "/etc/", "file:elsewhere/", "file:///", f"{drops}/filmsandmore/"):
        with pytest.raises(InvalidArgument) as caught:
            make_service(films, "movies", source={"uri": uri})
        assert [fault["field"] for fault in caught.value.details] == ["source.uri"]
        with pytest.raises(InvalidArgument):
            service_update(actor=ALICE, service=make_service(films, "series"), spec={"source": {"uri": uri}})
        service_delete(actor=ALICE, service=service_get(films, "series"))
    assert make_service(films, "movies", source={"uri": f"{drops}/films/movies/"})


def test_an_address_that_is_refused_is_told_with_every_other_fault(films):
    with pytest.raises(InvalidArgument) as caught:
        make_service(
            films,
            schema={"dimension": 0, "metric": "ip"},
            source={"uri": "/etc/"},
            notify={"webhook": "https://hooks.example.org/recall"},
        )
    fields = [fault["field"] for fault in caught.value.details]
    assert fields == ["schema.dimension", "source.uri", "notify.webhook"]


def test_it_says_limit_use_and_remedy_when_the_quota_of_services_is_used_up(films_service, films, books):
    quota_update(actor=TESTER, tenant=films, services_max=1)
    with pytest.raises(QuotaExceeded) as caught:
        make_service(films, "series")
    assert caught.value.message == (
        "films has 1 of the 1 services that its quota allows (services_max). "
        "Delete one that is not used any more, or ask a platform administrator for more."
    )
    assert make_service(books, "series")
    service_delete(actor=ALICE, service=films_service)
    assert make_service(films, "series")


def test_a_service_may_not_be_faster_than_its_tenant(films, films_service):
    quota_update(actor=TESTER, tenant=films, qps_max=1_500)
    with pytest.raises(QuotaExceeded) as caught:
        make_service(films, "series", limits={"qps": 2_000})
    assert caught.value.field == "limits.qps"
    assert "2,000" in caught.value.message
    assert "1,500" in caught.value.message
    with pytest.raises(QuotaExceeded):
        service_update(actor=ALICE, service=films_service, spec={"limits": {"qps": 1_501}})
    assert now(films_service).spec["limits"]["qps"] == 1_000


def test_it_makes_no_service_for_a_tenant_that_was_closed(films):
    tenant_delete(actor=TESTER, tenant=films)
    with pytest.raises(NotFound):
        make_service(films)


def test_it_lays_a_patch_over_the_spec(films_service):
    patch = {"guards": {"max_drop_percent": None, "min_items": 100}, "schema": {"dimension": 8}}
    changed = service_update(actor=ALICE, service=films_service, spec=patch)
    assert changed.spec["guards"]["max_drop_percent"] is None
    assert changed.spec["guards"]["max_growth_percent"] == 300
    assert (changed.spec["schema"]["dimension"], changed.spec["schema"]["metric"]) == (8, "ip")
    assert (changed.spec_generation, changed.route_generation) == (2, films_service.route_generation)
    event = events_of("films")[0]
    assert event.before == {"schema.dimension": 4, "guards.min_items": 1, "guards.max_drop_percent": 20}
    assert event.after == {"schema.dimension": 8, "guards.min_items": 100, "guards.max_drop_percent": None}


def test_a_change_of_the_limits_reaches_the_gateways(films_service, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        changed = service_update(actor=ALICE, service=films_service, spec={"limits": {"max_top_k": 50}})
    assert changed.route_generation == films_service.route_generation + 1
    assert len(callbacks) == 1


def test_an_equal_spec_changes_nothing(films_service, django_capture_on_commit_callbacks):
    newest = events_of("films")[0].pk
    with django_capture_on_commit_callbacks() as callbacks:
        same = service_update(actor=ALICE, service=films_service, spec={"engine": "flat", "name": "movies"})
    assert same.spec_generation == 1
    assert events_of("films")[0].pk == newest
    assert len(callbacks) == 0


def test_it_puts_a_whole_spec_in_place_of_the_old_one(films_service):
    service_update(actor=ALICE, service=films_service, spec={"guards": {"min_items": 100}})
    whole = make_spec("movies", limits={"qps": 5})
    changed = service_update(actor=ALICE, service=now(films_service), spec=whole, replace=True)
    assert (changed.spec["guards"]["min_items"], changed.spec["limits"]["qps"]) == (1, 5)


def test_a_service_keeps_its_name(films_service):
    with pytest.raises(InvalidArgument) as caught:
        service_update(actor=ALICE, service=films_service, spec={"name": "series"})
    assert caught.value.field == "name"


@pytest.mark.parametrize("patch", [None, [], "x", {"schema": None}, {"limits": 3}, {"oops": {}}, {5: 5}])
def test_it_refuses_a_patch_that_makes_no_spec(films_service, patch):
    with pytest.raises(InvalidArgument):
        service_update(actor=ALICE, service=films_service, spec=patch)
    assert now(films_service).spec == films_service.spec


def test_the_second_of_two_changes_made_at_once_is_refused(films_service):
    alices, bobs = now(films_service), now(films_service)
    service_update(actor=ALICE, service=alices, spec={"guards": {"min_items": 7}})
    with pytest.raises(Conflict) as caught:
        service_update(actor=TESTER, service=bobs, spec={"guards": {"min_items": 8}})
    assert caught.value.reason == "SPEC_CHANGED"
    assert now(films_service).spec["guards"]["min_items"] == 7


def test_it_refuses_a_change_of_what_the_caller_has_not_seen(films_service):
    with pytest.raises(Conflict):
        service_update(
            actor=ALICE, service=films_service, spec={"guards": {"min_items": 7}}, expected_spec_generation=9
        )


def test_it_holds_and_releases(films_service):
    held = service_hold(actor=ALICE, service=films_service, reason="  the model is being debugged ")
    assert held.held_at is not None
    assert held.held_reason == "the model is being debugged"
    again = service_hold(actor=ALICE, service=films_service, reason="still")
    assert (again.held_at, again.held_reason) == (held.held_at, "still")
    released = service_release(actor=ALICE, service=films_service, reason="done")
    assert (released.held_at, released.held_reason) == (None, "")
    told = [(event.verb, event.reason) for event in events_of("films", "movies")]
    assert told[:3] == [
        ("service.release", "done"),
        ("service.hold", "still"),
        ("service.hold", "the model is being debugged"),
    ]


def test_releasing_what_is_not_held_changes_nothing(films_service):
    newest = events_of("films")[0].pk
    service_release(actor=ALICE, service=films_service)
    assert events_of("films")[0].pk == newest


@pytest.mark.parametrize("reason", ["x" * 501, "a\0b", 7])
def test_it_refuses_a_reason_that_is_no_text(films_service, reason):
    with pytest.raises(InvalidArgument) as caught:
        service_hold(actor=ALICE, service=films_service, reason=reason)
    assert caught.value.field == "reason"
    assert now(films_service).held_at is None


def test_it_deletes_a_service_and_leaves_a_row_for_its_tombstone(
    films_service, films, django_capture_on_commit_callbacks
):
    Service.objects.filter(pk=films_service.pk).update(live_version=3, live_generation=5, route_generation=40)
    with django_capture_on_commit_callbacks() as callbacks:
        gone = service_delete(actor=ALICE, service=films_service)
    row = now(films_service)
    assert (row.live_version, row.live_generation, row.route_generation) == (None, 6, 41)
    assert row.deleted_at == gone.deleted_at is not None
    assert len(callbacks) == 1
    assert events_of("films")[0].before["live_version"] == 3
    with pytest.raises(NotFound):
        service_get(films, "movies")


def test_the_next_service_of_the_name_wins_over_every_tombstone(films_service, films):
    Service.objects.filter(pk=films_service.pk).update(route_generation=40)
    gone = service_delete(actor=ALICE, service=films_service)
    heir = make_service(films, "movies")
    assert heir.route_generation > gone.route_generation
    assert heir.pk != gone.pk
    assert make_service(films, "series").route_generation == 1


def test_the_next_service_of_the_name_inherits_no_key(films_service, films):
    own = key_create(actor=ALICE, tenant=films, scope="read", service="movies")
    tenants = key_create(actor=ALICE, tenant=films, scope="read")
    service_delete(actor=ALICE, service=films_service)
    make_service(films, "movies")
    assert key_verify(own.text) is None
    assert key_verify(tenants.text) == tenants.key


@pytest.mark.parametrize("action", [service_delete, service_hold, service_release])
def test_nothing_can_be_done_to_a_service_that_is_deleted(films_service, action):
    service_delete(actor=ALICE, service=films_service)
    newest = events_of("films")[0].pk
    with pytest.raises(NotFound):
        action(actor=ALICE, service=films_service)
    assert events_of("films")[0].pk == newest


def test_a_deleted_service_cannot_be_changed(films_service):
    service_delete(actor=ALICE, service=films_service)
    with pytest.raises(NotFound):
        service_update(actor=ALICE, service=films_service, spec={"guards": {"min_items": 7}})


def test_a_foreign_service_and_an_unknown_one_look_the_same(films_service, books_service, films):
    answers = set()
    for name in ("novels", "nothing", "No Name\0", "movies\n", ""):
        with pytest.raises(NotFound) as caught:
            service_get(films, name)
        answers.add((caught.value.message, caught.value.reason))
    assert answers == {("No such service (or it is not yours).", "SERVICE_NOT_FOUND")}


def test_each_caller_sees_the_services_that_are_theirs(films_service, books_service, films, books, alice, charlie):
    series = make_service(films, "series")
    assert list(services_of(films, caller_of_user(alice))) == [films_service, series]
    assert list(services_of(books, caller_of_user(charlie))) == [books_service]
    with pytest.raises(NotFound):
        services_of(films, caller_of_user(charlie))
    key = key_create(actor=ALICE, tenant=films, scope="read", service="series").key
    assert list(services_of(films, caller_of_key(key))) == [series]
    with pytest.raises(NotFound):
        services_of(books, caller_of_key(key))


def test_a_key_cannot_look_further_than_its_own_service(films_service, films):
    key = key_create(actor=ALICE, tenant=films, scope="manage", service="series").key
    assert list(services_of(films, caller_of_key(key))) == []
    assert living_services_of(films).count() == 1


def test_it_offers_every_engine_to_a_form():
    assert [name for name, _ in engine_choices()] == list(registry.names())
