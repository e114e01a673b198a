"""Who may do what: the whole table, for people and for keys."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from common.errors import NotFound, PermissionDenied
from tenants.actions import key_create
from tenants.models import Role, Scope, Tenant
from tenants.permissions import (
    ROLES,
    SCOPES,
    Caller,
    Permission,
    caller_of_key,
    caller_of_user,
    is_allowed,
    require,
    require_admin,
)
from tests.factories import TESTER, make_member, make_user

P = Permission
LOOKS = {P.VIEW, P.QUERY}
OPERATES = LOOKS | {P.WRITE_ITEMS, P.BUILD, P.OPERATE}
OWNS = OPERATES | {P.MANAGE}


def allowed(caller: Caller, tenant: Tenant, service: str = "movies") -> set[Permission]:
    return {permission for permission in Permission if is_allowed(caller, permission, tenant, service)}


def key_caller(tenant: Tenant, scope: str, service: str = "") -> Caller:
    return caller_of_key(key_create(actor=TESTER, tenant=tenant, scope=scope, service=service).key)


def test_every_role_and_scope_has_a_row():
    assert set(ROLES) == set(Role.values)
    assert set(SCOPES) == set(Scope.values)


def test_it_lets_each_role_do_what_it_is_for(films, alice, bob, victor):
    assert allowed(caller_of_user(victor), films) == LOOKS
    assert allowed(caller_of_user(bob), films) == OPERATES
    assert allowed(caller_of_user(alice), films) == OWNS


def test_it_lets_a_platform_administrator_do_everything_everywhere(films, books, dana):
    assert allowed(caller_of_user(dana), films) == set(Permission)
    assert allowed(caller_of_user(dana), books) == set(Permission)
    require_admin(caller_of_user(dana))


def test_it_lets_each_scope_do_what_it_is_for(films):
    assert allowed(key_caller(films, "read"), films) == LOOKS
    assert allowed(key_caller(films, "write"), films) == LOOKS | {P.WRITE_ITEMS}
    assert allowed(key_caller(films, "manage"), films) == OWNS


@pytest.mark.parametrize("permission", list(Permission))
def test_it_hides_the_tenant_from_a_stranger_whatever_he_asks(films, charlie, books, permission):
    with pytest.raises(NotFound) as caught:
        require(caller_of_user(charlie), permission, films, "movies")
    assert (caught.value.reason, caught.value.message) == (
        "TENANT_NOT_FOUND",
        "No such tenant (or it is not yours).",
    )


@pytest.mark.parametrize("scope", Scope.values)
def test_it_hides_the_tenant_from_another_tenants_key(films, books, scope):
    with pytest.raises(NotFound):
        require(key_caller(books, scope), Permission.VIEW, films, "movies")


def test_it_shows_a_key_of_one_service_that_service_only(films):
    caller = key_caller(films, "manage", service="movies")
    assert allowed(caller, films, "movies") == OWNS
    with pytest.raises(NotFound) as caught:
        require(caller, Permission.VIEW, films, "series")
    assert caught.value.reason == "SERVICE_NOT_FOUND"


@pytest.mark.parametrize("permission", [P.VIEW, P.MANAGE])
def test_it_keeps_a_key_of_one_service_from_the_tenant_itself(films, permission):
    with pytest.raises(PermissionDenied, match="service movies only"):
        require(key_caller(films, "manage", service="movies"), permission, films)


def test_it_says_which_role_is_missing(films, victor):
    with pytest.raises(PermissionDenied, match=r"needs the role operator in films; you are its viewer"):
        require(caller_of_user(victor), Permission.BUILD, films, "movies")


def test_it_says_which_scope_is_missing(films):
    with pytest.raises(PermissionDenied, match="needs a key of scope manage; this one has scope write"):
        require(key_caller(films, "write"), Permission.BUILD, films, "movies")


def test_it_keeps_administration_from_owners_and_their_keys(films, alice):
    for caller in (caller_of_user(alice), key_caller(films, "manage")):
        with pytest.raises(PermissionDenied, match="platform administrators"):
            require(caller, Permission.ADMIN, films)
        with pytest.raises(PermissionDenied, match="platform administrators"):
            require_admin(caller)


def test_it_shows_nothing_to_nobody(films):
    with pytest.raises(NotFound):
        require(caller_of_user(AnonymousUser()), Permission.VIEW, films)


def test_it_takes_everything_from_a_person_who_was_deactivated(films, dana):
    dana.is_active = False
    dana.save()
    assert allowed(caller_of_user(dana), films) == set()


def test_a_change_of_role_applies_to_the_next_request(films, bob):
    before = caller_of_user(bob)
    bob.memberships.update(role=Role.VIEWER)
    assert is_allowed(before, Permission.BUILD, films, "movies")
    assert not is_allowed(caller_of_user(bob), Permission.BUILD, films, "movies")


def test_a_person_of_two_teams_has_the_role_of_each(films, books, bob: User):
    make_member(books, bob, Role.VIEWER)
    caller = caller_of_user(bob, request_id="r-1", address="10.0.0.9")
    assert allowed(caller, films) == OPERATES
    assert allowed(caller, books) == LOOKS
    assert (caller.actor.kind, caller.actor.name, caller.actor.request_id, caller.actor.address) == (
        "user",
        "bob",
        "r-1",
        "10.0.0.9",
    )


def test_a_key_names_itself_by_its_prefix_only(films):
    new = key_create(actor=TESTER, tenant=films, scope="read")
    caller = caller_of_key(new.key, request_id="r-2")
    assert caller.actor.name == f"key:{new.key.prefix}"
    assert new.text.rpartition("_")[2] not in repr(caller)


@pytest.mark.django_db
def test_a_new_person_holds_nothing():
    assert caller_of_user(make_user("erin")).tenant_roles == {}
