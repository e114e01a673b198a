"""The one shape of every error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from tenants.models import Tenant
from tests.api.conftest import Caller, caller_by_key


def test_it_asks_for_a_key_when_there_is_none(anonymous: Caller) -> None:
    answer = anonymous.get("/tenants")
    assert (answer.status, answer.error["code"]) == (401, "UNAUTHENTICATED")
    assert "Authorization: Bearer" in answer.error["message"]
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="recall"'


@pytest.mark.parametrize("header", ["Bearer", "Bearer rk_unknown1_" + "a" * 32, "Bearer a b", "Bearer \xe9"])
def test_it_refuses_a_key_that_it_does_not_know(db: None, header: str) -> None:
    answer = Caller(Client(), Authorization=header).get("/tenants")
    assert (answer.status, answer.error["reason"]) == (401, "UNAUTHENTICATED")


def test_a_bad_key_is_refused_even_beside_a_good_session(owner: Caller) -> None:
    owner.headers["Authorization"] = "Bearer rk_unknown1_" + "a" * 32
    assert owner.get("/tenants").status == 401


def test_a_foreign_and_an_unknown_tenant_read_the_same(machine: Caller, books: Tenant) -> None:
    foreign, unknown = machine.get("/tenants/books"), machine.get("/tenants/nobody")
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body


def test_a_name_that_no_tenant_can_have_reads_like_an_unknown_one(machine: Caller) -> None:
    assert machine.get("/tenants/Not_A-Name").body == machine.get("/tenants/nobody").body


def test_it_names_every_field_at_fault(machine: Caller) -> None:
    answer = machine.post("/tenants/films/services", {"name": "movies", "schema": {"dimension": 0}, "sauce": {}})
    assert (answer.status, answer.error["code"]) == (400, "INVALID_ARGUMENT")
    assert {"sauce", "source", "schema.dimension"} <= {detail["field"] for detail in answer.error["details"]}


def test_it_names_a_field_that_it_does_not_know(machine: Caller) -> None:
    answer = machine.post("/tenants/films/keys", {"scope": "read", "scoop": "x"})
    assert answer.status == 400
    assert [detail["field"] for detail in answer.error["details"]] == ["scoop"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"scope": NaN}',
        b'{"scope": "\xff"}',
        b'{"scope": "\\ud800"}',
        b'{"scope": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_it_refuses_a_body_that_is_no_json_object(machine: Caller, body: bytes) -> None:
    answer = machine.send("POST", "/tenants/films/keys", body, "application/json")
    assert (answer.status, answer.error["code"]) == (400, "INVALID_ARGUMENT")


def test_it_refuses_another_kind_of_body(machine: Caller) -> None:
    answer = machine.send("POST", "/tenants/films/keys", b"scope=read", "application/x-www-form-urlencoded")
    assert (answer.status, answer.error["reason"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_it_reads_no_body_above_the_limit(machine: Caller) -> None:
    body = b'{"name": "' + b"a" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"}'
    answer = machine.send("POST", "/tenants/films/services", body, "application/json")
    assert (answer.status, answer.error["reason"]) == (413, "BODY_TOO_LARGE")


def test_it_answers_a_path_that_does_not_exist(machine: Caller, anonymous: Caller) -> None:
    answer = machine.post("/tenants/films/services/movies:explode", {})
    assert (answer.status, answer.error["reason"]) == (404, "PATH_NOT_FOUND")
    assert anonymous.get("/nothing/here").status == 401


def test_it_answers_a_method_that_does_not_exist(machine: Caller) -> None:
    answer = machine.call("PUT", "/tenants/films")
    assert (answer.status, answer.error["reason"]) == (405, "METHOD_NOT_ALLOWED")


def test_it_never_tells_what_nobody_foresaw(machine: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("api.views.tenants.actions.tenant_update", explode)
    machine.headers["X-Request-Id"] = "request-0001"
    answer = machine.patch("/tenants/films", {"title": "Films"})
    assert (answer.status, answer.error["code"]) == (500, "INTERNAL")
    assert "hunter2" not in json.dumps(answer.body)
    assert answer.error["details"] == [{"request_id": "request-0001"}]
    assert answer.headers["X-Request-Id"] == "request-0001"


def test_a_session_cannot_write_without_its_csrf_token(alice: User, films: Tenant) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    refused = Caller(client).patch("/tenants/films", {"title": "Films"})
    assert (refused.status, refused.error["code"]) == (403, "PERMISSION_DENIED")

    client.get("/login/")
    client.cookies[settings.CSRF_COOKIE_NAME] = token = "a" * 32
    assert Caller(client, **{"X-CSRFToken": token}).patch("/tenants/films", {"title": "Films"}).status == 200


def test_a_key_needs_no_csrf_token(films: Tenant) -> None:
    caller = caller_by_key(films)
    caller.client = Client(enforce_csrf_checks=True)
    assert caller.patch("/tenants/films", {"title": "Films"}).status == 200


def test_a_read_key_is_told_which_scope_it_needs(films: Tenant) -> None:
    answer = caller_by_key(films, "read").patch("/tenants/films", {"title": "Films"})
    assert (answer.status, answer.error["code"]) == (403, "PERMISSION_DENIED")
    assert "manage" in answer.error["message"]


def test_a_key_of_one_service_meets_another_as_unknown(
    films: Tenant, films_service: object, signed_in: Callable[[User], Caller]
) -> None:
    caller = caller_by_key(films, "manage", "movies")
    assert caller.get("/tenants/films/services/movies").status == 200
    assert [service["name"] for service in caller.get("/tenants/films/services").body["services"]] == ["movies"]
    foreign, unknown = caller.get("/tenants/books/services/novels"), caller.get("/tenants/films/services/series")
    assert (foreign.status, unknown.status) == (404, 404)


def test_answers_are_not_stored_on_their_way(machine: Caller) -> None:
    assert machine.get("/tenants").headers["Cache-Control"] == "no-store"
