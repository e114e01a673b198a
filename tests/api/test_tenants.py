"""Tenants, quotas, members and keys over REST."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.test import Client

from accounts.selectors import must_change_password
from tenants.models import ApiKey, Member, Tenant
from tests.api.conftest import Caller, caller_by_key, caller_by_session
from tests.factories import make_user


def test_an_administrator_makes_a_tenant(admin: Caller) -> None:
    answer = admin.post("/tenants", {"name": "games", "title": "The games team"})
    assert (answer.status, answer.body["name"], answer.body["title"]) == (201, "games", "The games team")
    assert admin.get("/tenants/games").body == answer.body


def test_it_refuses_a_name_that_is_taken(admin: Caller, films: Tenant) -> None:
    answer = admin.post("/tenants", {"name": "films"})
    assert (answer.status, answer.error["code"], answer.error["reason"]) == (409, "ALREADY_EXISTS", "TENANT_EXISTS")


def test_it_names_the_field_of_a_bad_name(admin: Caller) -> None:
    answer = admin.post("/tenants", {"name": "Games Team"})
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "name")


def test_it_lists_only_ones_own_tenants(owner: Caller, books: Tenant, admin: Caller) -> None:
    assert [tenant["name"] for tenant in owner.get("/tenants").body["tenants"]] == ["films"]
    assert [tenant["name"] for tenant in admin.get("/tenants").body["tenants"]] == ["books", "films"]


def test_an_owner_changes_the_title(owner: Caller) -> None:
    assert owner.patch("/tenants/films", {"title": "Films!"}).body["title"] == "Films!"
    assert owner.get("/tenants/films").body["title"] == "Films!"


def test_a_tenant_with_services_is_not_closed(admin: Caller, films_service: object) -> None:
    answer = admin.delete("/tenants/films")
    assert (answer.status, answer.error["reason"]) == (400, "TENANT_NOT_EMPTY")
    assert admin.delete("/tenants/films/services/movies").status == 204
    assert admin.delete("/tenants/films").status == 204
    assert admin.get("/tenants/films").status == 404


def test_a_quota_is_read_by_members_and_changed_by_administrators(owner: Caller, admin: Caller) -> None:
    before = owner.get("/tenants/films/quota").body
    assert set(before) == {"services_max", "items_max", "memory_bytes_max", "qps_max", "builds_at_once_max"}
    changed = admin.patch("/tenants/films/quota", {"services_max": 1})
    assert changed.body == {**before, "services_max": 1}
    assert owner.patch("/tenants/films/quota", {"services_max": 100}).status == 403


def test_a_quota_names_the_limit_at_fault(admin: Caller, films: Tenant) -> None:
    answer = admin.patch("/tenants/films/quota", {"services_max": -1, "qps_max": 2**40})
    assert (answer.status, {detail["field"] for detail in answer.error["details"]}) == (
        400,
        {"services_max", "qps_max"},
    )


def test_an_owner_takes_people_in_and_lets_them_go(owner: Caller, db: None) -> None:
    make_user("erin")
    assert owner.post("/tenants/films/members", {"username": "erin", "role": "viewer"}).body["role"] == "viewer"
    assert owner.patch("/tenants/films/members/erin", {"role": "operator"}).body["role"] == "operator"
    listed = owner.get("/tenants/films/members").body["members"]
    assert [(member["username"], member["role"]) for member in listed] == [("alice", "owner"), ("erin", "operator")]
    assert owner.delete("/tenants/films/members/erin").status == 204
    assert not Member.objects.filter(user__username="erin").exists()


def test_a_new_person_is_made_with_a_password_that_is_never_shown(owner: Caller) -> None:
    password = "a long enough passphrase"
    made = owner.post("/tenants/films/members", {"username": "frank", "role": "viewer", "password": password})
    assert (made.status, password in str(made.body)) == (201, False)
    frank = User.objects.get(username="frank")
    assert frank.check_password(password)
    assert must_change_password(frank)


def test_who_chose_the_password_themselves_need_not_change_it(owner: Caller) -> None:
    own = {"password": "a long enough passphrase", "must_change_password": False}
    assert owner.post("/tenants/films/members", {"username": "frank", "role": "viewer", **own}).status == 201
    assert not must_change_password(User.objects.get(username="frank"))


def test_an_unknown_person_is_not_taken_in(owner: Caller) -> None:
    answer = owner.post("/tenants/films/members", {"username": "nobody", "role": "viewer"})
    assert (answer.status, answer.error["reason"]) == (404, "USER_NOT_FOUND")


def test_it_names_the_field_of_an_unknown_role(owner: Caller) -> None:
    answer = owner.post("/tenants/films/members", {"username": "alice", "role": "king"})
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "role")


def test_the_last_owner_stays(owner: Caller) -> None:
    answer = owner.delete("/tenants/films/members/alice")
    assert (answer.status, answer.error["reason"]) == (400, "LAST_OWNER")


def test_a_key_is_shown_once_and_works(owner: Caller) -> None:
    made = owner.post("/tenants/films/keys", {"scope": "manage", "name": "ci"})
    assert made.status == 201
    machine = Caller(Client(), Authorization=f"Bearer {made.body['key']}")
    assert machine.get("/tenants/films").status == 200
    [listed] = owner.get("/tenants/films/keys").body["keys"]
    assert (listed["prefix"], listed["name"], "key" in listed) == (made.body["prefix"], "ci", False)
    assert listed["last_used_at"] is not None


def test_a_key_for_a_service_that_does_not_exist_is_not_made(owner: Caller, books_service: object) -> None:
    for service in ("nothing", "novels"):
        answer = owner.post("/tenants/films/keys", {"scope": "read", "service": service})
        assert (answer.status, answer.error["reason"]) == (404, "SERVICE_NOT_FOUND")
    assert not ApiKey.objects.exists()


def test_a_key_does_not_expire_in_the_past(owner: Caller) -> None:
    answer = owner.post("/tenants/films/keys", {"scope": "read", "expires_at": "2020-01-01T00:00:00Z"})
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "expires_at")


def test_a_revoked_key_opens_nothing_from_the_next_request_on(owner: Caller) -> None:
    made = owner.post("/tenants/films/keys", {"scope": "read"}).body
    machine = Caller(Client(), Authorization=f"Bearer {made['key']}")
    assert machine.get("/tenants/films").status == 200
    assert owner.post(f"/tenants/films/keys/{made['prefix']}:revoke").body["revoked_at"] is not None
    assert machine.get("/tenants/films").status == 401


def test_a_rotated_key_works_until_its_overlap_ends(owner: Caller) -> None:
    made = owner.post("/tenants/films/keys", {"scope": "read"}).body
    path = f"/tenants/films/keys/{made['prefix']}:rotate"
    new = owner.post(path, {"overlap_seconds": 600})
    assert (new.status, new.body["scope"]) == (201, "read")
    assert new.body["key"] != made["key"]
    for text in (made["key"], new.body["key"]):
        assert Caller(Client(), Authorization=f"Bearer {text}").get("/tenants/films").status == 200
    again = owner.post(path)
    assert (again.status, again.error["code"]) == (409, "ABORTED")


def test_a_key_acts_under_its_own_name(films: Tenant, owner: Caller) -> None:
    machine = caller_by_key(films)
    machine.patch("/tenants/films", {"title": "Films!"})
    [event] = [event for event in owner.get("/tenants/films/audit").body["events"] if event["verb"] == "tenant.update"]
    assert (event["actor_kind"], event["actor"][:4]) == ("key", "key:")
    assert event["request_id"] != ""
    assert event["address"] == "127.0.0.1"


def test_the_audit_trail_is_the_tenants_own(owner: Caller, charlie: User, books_service: object) -> None:
    owner.patch("/tenants/films", {"title": "Films!"})
    events = caller_by_session(charlie).get("/tenants/books/audit").body["events"]
    assert {event["service"] for event in events} == {"", "novels"}
    assert "films" not in str(events)
