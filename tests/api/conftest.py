"""Callers of the API: people with a session, machines with a key. Every answer is held to the API's description."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tenants.actions import key_create
from tenants.models import Tenant
from tests.api.described import check_is_described
from tests.factories import TESTER

API = "/api/v1"


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["error"]
        return found


class Caller:
    """Somebody who calls the API. Paths are those below /api/v1."""

    def __init__(self, client: Client, **headers: str) -> None:
        self.client = client
        self.headers = headers

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Any = None) -> Answer:
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", path)

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        data = b"" if body is None else json.dumps(body).encode()
        return self.send(method, path, data, "application/json" if body is not None else "")

    def send(self, method: str, path: str, data: bytes, content_type: str) -> Answer:
        """Sends the bytes as they are."""
        found = self.client.generic(method, API + path, data, content_type=content_type, headers=self.headers)
        is_json = found.headers.get("Content-Type", "").startswith("application/json")
        answer = Answer(found.status_code, json.loads(found.content) if is_json else found.content, found.headers)
        check_is_described(method, (API + path).split("?")[0], answer.status, answer.body)
        return answer


def caller_by_key(tenant: Tenant, scope: str = "manage", service: str = "") -> Caller:
    new = key_create(actor=TESTER, tenant=tenant, scope=scope, service=service)
    return Caller(Client(), Authorization=f"Bearer {new.text}")


def caller_by_session(user: User) -> Caller:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return Caller(client)


@pytest.fixture
def signed_in() -> Callable[[User], Caller]:
    return caller_by_session


@pytest.fixture
def anonymous(db: None) -> Caller:
    return Caller(Client())


@pytest.fixture
def owner(alice: User, films: Tenant) -> Caller:
    """Alice, signed in to the console."""
    return caller_by_session(alice)


@pytest.fixture
def admin(dana: User) -> Caller:
    return caller_by_session(dana)


@pytest.fixture
def machine(films: Tenant) -> Caller:
    """A program with a key of scope manage for all of films."""
    return caller_by_key(films)
