"""Tenants, their quotas and their people."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from accounts.actions import user_create, user_set_password
from audit.selectors import events_of
from common.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound
from tenants.actions import (
    key_create,
    member_add,
    member_remove,
    member_set_role,
    quota_update,
    tenant_create,
    tenant_delete,
    tenant_update,
)
from tenants.models import Quota, Tenant
from tenants.selectors import (
    key_verify,
    member_get,
    members_of,
    tenant_get,
    tenants_of,
    usage_of,
)
from tests.factories import PASSWORD, TESTER, make_service, make_user

pytestmark = pytest.mark.django_db


def verbs(tenant: str) -> list[str]:
    return [event.verb for event in events_of(tenant)]


def test_it_makes_a_tenant_with_a_quota_and_an_owner(alice):
    films = tenant_create(actor=TESTER, name="films", title="Film team", owner=alice)
    assert films.quota.services_max == 20
    assert [(member.user, member.role) for member in members_of(films)] == [(alice, "owner")]
    assert verbs("films") == ["tenant.create"]


def test_it_takes_the_first_owner_by_name_too(alice):
    films = tenant_create(actor=TESTER, name="films", owner="alice")
    assert member_get(films, "alice").role == "owner"


def test_it_makes_no_tenant_for_an_owner_who_does_not_exist():
    with pytest.raises(NotFound) as caught:
        tenant_create(actor=TESTER, name="films", owner="nobody")
    assert caught.value.field == "owner"
    assert not Tenant.objects.exists()


@pytest.mark.parametrize("name", ["", "Films", "1films", "films-", "fi lms", "films\n", "f" * 64, "фильмы", "a/b"])
def test_it_refuses_a_name_that_could_not_stand_in_a_route(name):
    with pytest.raises(InvalidArgument) as caught:
        tenant_create(actor=TESTER, name=name)
    assert caught.value.field == "name"


def test_it_refuses_a_name_that_is_taken(films):
    with pytest.raises(Conflict) as caught:
        tenant_create(actor=TESTER, name="films")
    assert caught.value.reason == "TENANT_EXISTS"


def test_it_changes_a_title_and_says_what_it_was(films):
    tenant_update(actor=TESTER, tenant=films, title=" Films and series ")
    event = events_of("films")[0]
    assert Tenant.objects.get(name="films").title == "Films and series"
    assert (event.verb, event.before, event.after) == (
        "tenant.update",
        {"title": ""},
        {"title": "Films and series"},
    )


def test_it_refuses_a_title_that_a_database_could_not_hold(films):
    with pytest.raises(InvalidArgument, match="control characters"):
        tenant_update(actor=TESTER, tenant=films, title="Films\0")


def test_it_closes_an_empty_tenant_and_keeps_its_name_taken(films, alice, bob):
    key = key_create(actor=TESTER, tenant=films, scope="read")
    tenant_delete(actor=TESTER, tenant=films)
    assert key_verify(key.text) is None
    assert list(tenants_of(alice)) == []
    assert events_of("films")[0].before["members"] == ["alice", "bob"]
    with pytest.raises(Conflict):
        tenant_create(actor=TESTER, name="films")


def test_it_does_not_close_a_tenant_that_has_services(films_service, films):
    with pytest.raises(FailedPrecondition, match="still has 1 service"):
        tenant_delete(actor=TESTER, tenant=films)
    assert Tenant.objects.get(name="films").deleted_at is None


def test_it_changes_a_quota_and_tells_the_gateways(films):
    quota = quota_update(actor=TESTER, tenant=films, qps_max=50, services_max=3)
    event = events_of("films")[0]
    assert (quota.qps_max, quota.services_max, quota.builds_at_once_max) == (50, 3, 2)
    assert event.before == {"qps_max": 10_000, "services_max": 20}
    assert Tenant.objects.get(name="films").route_generation == films.route_generation + 1


@pytest.mark.parametrize("value", [-1, 1.5, "10", True, None, 2**31])
def test_it_refuses_a_limit_that_is_no_limit(films, value):
    with pytest.raises(InvalidArgument) as caught:
        quota_update(actor=TESTER, tenant=films, qps_max=value, services_max=1)
    assert caught.value.field == "qps_max"
    assert Quota.objects.get(tenant=films).services_max == 20


def test_it_names_every_limit_that_it_does_not_know(films):
    with pytest.raises(InvalidArgument) as caught:
        quota_update(actor=TESTER, tenant=films, qps=1, tenant_id=7, id=3)
    assert [fault["field"] for fault in caught.value.details] == ["qps", "tenant_id", "id"]


def test_it_makes_a_person_with_a_password_of_their_own():
    erin, generated = user_create(actor=TESTER, username="erin", password=PASSWORD)
    assert generated is None
    assert erin.check_password(PASSWORD)
    assert not erin.is_superuser


def test_it_generates_a_password_when_none_is_given():
    erin, generated = user_create(actor=TESTER, username="erin", admin=True)
    assert generated is not None
    assert len(generated) == 20
    assert erin.check_password(generated)
    assert erin.is_superuser


@pytest.mark.parametrize("password", ["short", "password123", "erin-erin-erin", "x" * 1_025])
def test_it_refuses_a_weak_or_endless_password(password):
    with pytest.raises(InvalidArgument) as caught:
        user_create(actor=TESTER, username="erin-erin-eri", password=password)
    assert caught.value.field == "password"
    assert not User.objects.exists()


@pytest.mark.parametrize("username", ["", "a b", "a\0b", "x" * 151])
def test_it_refuses_a_user_name_that_is_none(username):
    with pytest.raises(InvalidArgument) as caught:
        user_create(actor=TESTER, username=username)
    assert caught.value.field == "username"


def test_it_refuses_a_name_that_looks_like_alices(alice):
    with pytest.raises(Conflict):
        user_create(actor=TESTER, username="ALICE")


def test_it_keeps_passwords_out_of_the_audit_trail(films):
    member_add(actor=TESTER, tenant=films, username="erin", role="viewer", password=PASSWORD)
    user_set_password(actor=TESTER, user=User.objects.get(username="erin"), password="another " + PASSWORD)
    told = [(event.verb, event.before, event.after) for event in [*events_of("films"), *events_of("")]]
    assert {"member.add", "user.create", "user.set_password"} <= {verb for verb, _, _ in told}
    assert PASSWORD not in repr(told)


def test_it_takes_a_person_into_the_tenant(films, charlie):
    member_add(actor=TESTER, tenant=films, username="charlie", role="viewer")
    assert tenant_get(charlie, "films") == films
    assert verbs("films")[0] == "member.add"


def test_it_does_not_make_a_person_up(films):
    with pytest.raises(NotFound, match=r"There is no user erin. Give a password to make one."):
        member_add(actor=TESTER, tenant=films, username="erin", role="viewer")


def test_an_owner_cannot_set_the_password_of_somebody_who_exists(films, charlie):
    with pytest.raises(Conflict):
        member_add(actor=TESTER, tenant=films, username="charlie", role="viewer", password="new " + PASSWORD)
    charlie.refresh_from_db()
    assert charlie.check_password(PASSWORD)


def test_it_takes_nobody_in_twice(films, bob):
    with pytest.raises(Conflict) as caught:
        member_add(actor=TESTER, tenant=films, username="bob", role="viewer")
    assert caught.value.reason == "MEMBER_EXISTS"


def test_it_refuses_a_role_that_is_none(films, charlie):
    with pytest.raises(InvalidArgument) as caught:
        member_add(actor=TESTER, tenant=films, username="charlie", role="king")
    assert caught.value.field == "role"


def test_it_changes_a_role(films, bob):
    member_set_role(actor=TESTER, member=member_get(films, "bob"), role="owner")
    assert member_get(films, "bob").role == "owner"
    assert events_of("films")[0].before == {"role": "operator"}


def test_the_last_owner_stays_owner_and_member(films, alice, bob):
    owner = member_get(films, "alice")
    with pytest.raises(FailedPrecondition) as caught:
        member_set_role(actor=TESTER, member=owner, role="viewer")
    assert caught.value.reason == "LAST_OWNER"
    with pytest.raises(FailedPrecondition):
        member_remove(actor=TESTER, member=owner)
    assert member_get(films, "alice").role == "owner"


def test_an_owner_may_go_when_another_one_stays(films, alice, bob):
    member_set_role(actor=TESTER, member=member_get(films, "bob"), role="owner")
    member_remove(actor=TESTER, member=member_get(films, "alice"))
    with pytest.raises(NotFound):
        tenant_get(alice, "films")


def test_it_finds_no_member_of_another_tenant(films, books, charlie):
    with pytest.raises(NotFound) as foreign:
        member_get(films, "charlie")
    with pytest.raises(NotFound) as unknown:
        member_get(films, "nobody\0")
    assert foreign.value.message == unknown.value.message


def test_it_shows_each_person_their_own_tenants(films, books, alice, charlie, dana):
    assert [tenant.name for tenant in tenants_of(alice)] == ["films"]
    assert [tenant.name for tenant in tenants_of(charlie)] == ["books"]
    assert [tenant.name for tenant in tenants_of(dana)] == ["books", "films"]


def test_a_foreign_tenant_and_an_unknown_one_look_the_same(films, books, charlie):
    answers = []
    for name in ("films", "nothing", "No Name\0", "films\n"):
        with pytest.raises(NotFound) as caught:
            tenant_get(charlie, name)
        answers.append((caught.value.message, caught.value.reason, caught.value.details))
    assert len({repr(answer) for answer in answers}) == 1


def test_it_counts_what_a_tenant_uses(films, bob, books):
    make_service(films, "movies")
    key_create(actor=TESTER, tenant=films, scope="read")
    make_service(books, "novels")
    make_user("erin")
    assert usage_of(films) == {"services": 1, "keys": 1, "members": 2}
