"""The demo's service: one action for the console's button and for `recall demo`, pressed once or twice."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from django.test import Client

from catalog.actions import service_create, service_hold, service_update
from catalog.models import Service
from common.errors import Conflict, QuotaExceeded
from demo import drop
from demo.service import spec
from tenants.actions import quota_update, tenant_delete
from tenants.models import Tenant
from tests.factories import TESTER, make_spec
from tests.support.history import claimed, refreshed
from versions import actions
from versions.models import Build
from versions.states import BuildState


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def loaded(tenant: Tenant, *, again: bool = False) -> Build:
    return actions.demo_load(actor=TESTER, tenant=tenant, again=again)


def test_it_registers_the_service_and_asks_for_a_build_whose_worker_delivers(films: Tenant) -> None:
    build = loaded(films)
    service = Service.objects.get(tenant=films, name="fashion")
    assert {block: service.spec[block] for block in ("schema", "source")}["source"]["uri"] == "file:fashion/"
    assert (build.service, build.state, build.context) == (service, BuildState.PENDING, {"demo": True})
    assert build.drop_name > "2026"


def test_pressed_twice_it_is_one_service_and_one_build(films: Tenant) -> None:
    first = loaded(films)
    assert loaded(films) == first
    assert (Service.objects.count(), Build.objects.count()) == (1, 1)


def test_after_a_build_that_ended_badly_another_one_is_asked_for(films: Tenant) -> None:
    first = loaded(films)
    actions.build_fail(claimed(first), reason="demo.not_delivered", owner="platform", message="No room.")
    assert loaded(films).number == 2


def test_recall_demo_brings_the_service_back_to_its_spec_and_builds_another_drop(films: Tenant) -> None:
    first = loaded(films)
    service = service_update(actor=TESTER, service=first.service, spec={"limits": {"qps": 7}})
    service_hold(actor=TESTER, service=service)
    second = loaded(films, again=True)
    service = refreshed(service)
    assert (second.number, second.drop_name > first.drop_name) == (2, True)
    assert (service.spec["limits"]["qps"], service.held_at) == (2000, None)


def test_a_teams_own_service_of_that_name_is_left_alone(films: Tenant) -> None:
    service_create(actor=TESTER, tenant=films, spec=make_spec("fashion"))
    with pytest.raises(Conflict, match="of its own") as caught:
        loaded(films)
    assert caught.value.reason == "DEMO_NAME_TAKEN"
    assert not Build.objects.exists()


def test_the_teams_quota_counts(films: Tenant) -> None:
    quota_update(actor=TESTER, tenant=films, services_max=0)
    with pytest.raises(QuotaExceeded):
        loaded(films)


def test_alice_presses_the_only_button_of_an_empty_home_and_watches(alice: User, films: Tenant) -> None:
    client = signed_in(alice)
    assert b"Load the demo service" in client.get("/").content
    response = client.post("/t/films/demo/", follow=True)
    assert response.redirect_chain == [("/t/films/s/fashion/builds/1/", 302)]
    assert b'hx-get="/t/films/s/fashion/builds/1/progress/"' in response.content
    assert b"Load the demo service" not in client.get("/").content
    assert client.post("/t/films/demo/")["Location"] == "/t/films/s/fashion/builds/1/"


def test_who_may_not_register_services_sees_no_button(bob: User, films: Tenant) -> None:
    client = signed_in(bob)
    assert b"Load the demo service" not in client.get("/").content
    assert client.post("/t/films/demo/").status_code == 403
    assert not Service.objects.exists()


def test_an_administrator_without_a_team_gets_the_team_demo(dana: User) -> None:
    client = signed_in(dana)
    assert b"Load the demo service" in client.get("/").content
    for _ in range(2):
        assert client.post("/demo/")["Location"] == "/t/demo/s/fashion/builds/1/"
    assert Tenant.objects.get().title == "Demo"


def test_where_a_team_demo_was_deleted_the_administrator_is_told(dana: User) -> None:
    tenant_delete(actor=TESTER, tenant=actions.demo_tenant(actor=TESTER))
    response = signed_in(dana).post("/demo/", follow=True)
    assert b"The tenant name demo is taken" in response.content


def test_the_file_is_what_the_spec_and_the_manifest_say() -> None:
    found = pq.ParquetFile(drop.FILE)
    assert found.metadata.num_rows == drop.ITEMS
    wanted = spec()["schema"]
    assert found.schema_arrow.field("vector").type.list_size == wanted["dimension"]
    assert [each["name"] for each in wanted["attributes"]] == ["category"]
