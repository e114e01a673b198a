"""No URL of the control plane opens for somebody who may not: each route is tried by all whom it concerns.

The doors stand in tests/control/url_table.py. A route or a method that is not there fails here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from alerts.actions import alert_raise
from alerts.models import TenantAlerts
from catalog.actions.drafts import draft_create
from catalog.intents import Intent
from catalog.models import Draft, Service
from tenants.actions import key_create
from tenants.models import Tenant
from tenants.permissions import ROLES, SCOPES, Permission
from tests.control.page_table import PAGE_DOORS
from tests.control.url_table import API_DOORS, ARGUMENTS, FOREIGN, INTERNAL_DOORS, UNKNOWN, Door, Need
from tests.factories import TESTER, make_user
from versions.actions import build_request
from versions.models import Projection, Version

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
DOORS = (*API_DOORS, *INTERNAL_DOORS, *PAGE_DOORS)
TENANT_DOORS = [door for door in DOORS if isinstance(door.needs, Permission)]
TENANT_DOORS_OF_API = [door for door in TENANT_DOORS if not door.is_page]
# Arguments that name something inside a tenant.
INNER = {"number", "other", "username", "prefix", "draft"}
REFUSED = {401, 403, 404, 405, 500}
LOOKS = {Permission.VIEW, Permission.QUERY}

# What differs from answer to answer: request ids and CSRF tokens.
RANDOM = re.compile(r"[A-Za-z0-9]{64}|\b[0-9a-f]{16}\b")


@dataclass
class Answer:
    status: int
    text: str
    location: str

    @property
    def asks_to_sign_in(self) -> bool:
        return self.status == 302 and self.location.split("?")[0] == settings.LOGIN_URL


class Visitor:
    """Somebody with a session, with a key, or with neither."""

    def __init__(self, user: User | None = None, key: str = "") -> None:
        self.client = Client()
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        if user:
            self.client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    def try_door(self, door: Door, **arguments: Any) -> Answer:
        return self.send(door.method, door.url(**arguments), door)

    def send(self, method: str, url: str, door: Door) -> Answer:
        if door.is_page and method == "POST":
            found = self.client.post(url, door.body or {}, headers=self.headers)
        else:
            body = b"" if door.body is None else json.dumps(door.body).encode()
            kind = "application/json" if body else ""
            found = self.client.generic(method, url, body, content_type=kind, headers=self.headers)
        # What is no text is no page, and is compared all the same.
        text = RANDOM.sub("*", found.getvalue().decode(errors="replace"))
        return Answer(found.status_code, text, found.headers.get("Location", ""))


@dataclass
class Stage:
    """Everybody, and the objects that the doors lead to."""

    users: dict[str, User]
    films: Tenant
    books: Tenant
    prefixes: dict[str, str]

    def visitor(self, name: str) -> Visitor:
        return Visitor(self.users[name])

    def key(self, tenant: Tenant, scope: str, service: str = "") -> Visitor:
        return Visitor(key=key_create(actor=TESTER, tenant=tenant, scope=scope, service=service).text)

    def try_door(self, visitor: Visitor, door: Door) -> Answer:
        """With Alice's objects."""
        return visitor.try_door(door, **self.arguments(door))

    def arguments(self, door: Door) -> dict[str, Any]:
        return {"prefix": self.prefixes["films"]} if "prefix" in door.argument_names else {}


@pytest.fixture
def stage(
    alice: User,
    bob: User,
    victor: User,
    charlie: User,
    dana: User,
    films: Tenant,
    books: Tenant,
    films_service: Service,
    books_service: Service,
) -> Stage:
    make_user("erin")
    for service, named in ((films_service, ARGUMENTS), (books_service, FOREIGN)):
        number = named["number"]
        draft = draft_create(actor=TESTER, tenant=service.tenant, intent=Intent(name="series", uri="file:series/"))
        Draft.objects.filter(pk=draft.pk).update(token=named["draft"])
        Service.objects.filter(pk=service.pk).update(builds_count=number - 1)
        build = build_request(actor=TESTER, service=service, drop="monday", force=True)
        TenantAlerts.objects.create(tenant=service.tenant, alerts_count=number - 1)
        alert_raise(service=service, reason="drop.late", message="Nothing came.")
        version, _ = (
            Version.objects.create(service=service, number=each, build=build, spec=service.spec, created_by="tests")
            for each in (number, named["other"])
        )
        Projection.objects.create(version=version, sample={"items": 1, "shown": [1, 0], "of": 1, "ids": ["1"],
                                  "x": [0], "y": [0], "attributes": []}, plane={})  # fmt: skip
    keys = {tenant.name: key_create(actor=TESTER, tenant=tenant, scope="read").key.prefix for tenant in (films, books)}
    users = {"alice": alice, "bob": bob, "victor": victor, "charlie": charlie, "dana": dana}
    return Stage(users, films, books, keys)


def faults(doors: Iterable[Door], check: Callable[[Door], object]) -> list[str]:
    """What `check` said of each door, unless it said nothing; what a visit changed is undone."""
    found = []
    for door in doors:
        with transaction.atomic():
            if fault := check(door):
                found.append(f"{door}: {fault}")
            transaction.set_rollback(True)
    return found


def routes(patterns: list[Any] | None = None, above: str = "") -> Iterator[str]:
    """Every route of the URLconf, from the root."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = above + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            assert isinstance(pattern, URLPattern)
            yield route


def test_every_route_is_known() -> None:
    assert set(routes()) - {door.route for door in DOORS} == set(), "add these to tests/control/url_table.py"


def test_every_door_leads_somewhere() -> None:
    assert {door.route for door in DOORS} - set(routes()) == set(), "these are no routes any more"


def test_no_method_is_open_that_the_table_does_not_name(stage: Stage) -> None:
    dana, nobody = stage.visitor("dana"), Visitor()
    named = {(door.route, door.method) for door in DOORS}

    def check(door: Door) -> object:
        others = [method for method in METHODS if (door.route, method) not in named]
        # The platform's own token is asked for first.
        refusal = 401 if door.needs is Need.INTERNAL else 405
        visitor = nobody if door.needs is Need.NOTHING else dana
        answers = {method: visitor.send(method, door.url(**stage.arguments(door)), door).status for method in others}
        return {method: status for method, status in answers.items() if status != refusal}

    assert faults({door.route: door for door in DOORS}.values(), check) == []


def test_nobody_comes_in_without_a_credential(stage: Stage) -> None:
    nobody = Visitor()

    def check(door: Door) -> object:
        answer = stage.try_door(nobody, door)
        if door.needs is Need.NOTHING:
            return answer if answer.status in REFUSED else None
        if door.is_page:
            return None if answer.asks_to_sign_in else answer
        return None if answer.status == 401 and "UNAUTHENTICATED" in answer.text else answer

    assert faults(DOORS, check) == []


def test_who_may_comes_in(stage: Stage) -> None:
    people = {
        role: stage.visitor(name) for role, name in (("viewer", "victor"), ("operator", "bob"), ("owner", "alice"))
    }
    dana = stage.visitor("dana")

    def check(door: Door) -> object:
        role = next((role for role, held in ROLES.items() if door.needs in held), None)
        answer = stage.try_door(people[role] if role else dana, door)
        return answer if answer.status in REFUSED else None

    assert faults(TENANT_DOORS, check) == []


def test_charlie_cannot_tell_what_is_not_his_from_what_does_not_exist(stage: Stage) -> None:
    charlie = stage.visitor("charlie")
    keys = [stage.key(stage.books, "manage"), stage.key(stage.books, "manage", "novels")]

    def check(door: Door) -> object:
        for visitor in [charlie] if door.is_page else [charlie, *keys]:
            foreign = stage.try_door(visitor, door)
            unknown = visitor.try_door(door, **{name: UNKNOWN[name] for name in door.argument_names})
            names_it = "films" in foreign.text or "movies" in foreign.text
            if foreign.status != 404 or foreign != unknown or names_it:
                return foreign, unknown
        return None

    assert faults(TENANT_DOORS, check) == []


def test_what_is_of_another_tenant_is_not_found_under_ones_own(stage: Stage) -> None:
    alice = stage.visitor("alice")
    foreign_values = {**FOREIGN, "prefix": stage.prefixes["books"]}

    def check(door: Door) -> object:
        for name in INNER & set(door.argument_names):
            foreign = alice.try_door(door, **{name: foreign_values[name]})
            unknown = alice.try_door(door, **{name: UNKNOWN[name]})
            foreign.text = foreign.text.replace(str(foreign_values[name]), str(UNKNOWN[name]))
            if foreign.status != 404 or foreign != unknown:
                return foreign, unknown
        return None

    assert faults([door for door in TENANT_DOORS if INNER & set(door.argument_names)], check) == []


def test_victor_the_viewer_may_look_and_nothing_else(stage: Stage) -> None:
    victor = stage.visitor("victor")

    def check(door: Door) -> object:
        answer = stage.try_door(victor, door)
        is_right = answer.status not in REFUSED if door.needs in LOOKS else answer.status == 403
        return None if is_right else answer

    assert faults(TENANT_DOORS, check) == []


def test_bob_the_operator_may_not_manage(stage: Stage) -> None:
    bob = stage.visitor("bob")

    def check(door: Door) -> object:
        answer = stage.try_door(bob, door)
        is_right = answer.status not in REFUSED if door.needs in ROLES["operator"] else answer.status == 403
        return None if is_right else answer

    assert faults(TENANT_DOORS, check) == []


@pytest.mark.parametrize("scope", ["read", "write", "manage"])
def test_a_key_opens_what_its_scope_says(stage: Stage, scope: str) -> None:
    machine = stage.key(stage.films, scope)

    def check(door: Door) -> object:
        answer = stage.try_door(machine, door)
        is_right = answer.status not in REFUSED if door.needs in SCOPES[scope] else answer.status == 403
        return None if is_right else answer

    assert faults(TENANT_DOORS_OF_API, check) == []


def test_a_key_of_one_service_opens_no_other(stage: Stage) -> None:
    machine = stage.key(stage.films, "manage", "series")

    def check(door: Door) -> object:
        answer = stage.try_door(machine, door)
        if "service" in door.argument_names:
            return None if answer.status == 404 else answer
        if door.route.endswith("/services") and door.method == "GET":
            return None if json.loads(answer.text)["services"] == [] else answer
        return None if answer.status == 403 else answer

    assert faults(TENANT_DOORS_OF_API, check) == []


def test_a_key_opens_no_page(stage: Stage) -> None:
    machine = stage.key(stage.films, "manage")

    def check(door: Door) -> object:
        answer = stage.try_door(machine, door)
        return None if answer.asks_to_sign_in else answer

    assert faults([door for door in DOORS if door.is_page and door.needs is not Need.NOTHING], check) == []


def test_only_administrators_steer_the_platform(stage: Stage) -> None:
    others = [stage.visitor("alice"), stage.visitor("charlie"), stage.key(stage.films, "manage")]
    dana = stage.visitor("dana")

    def check(door: Door) -> object:
        refused = [visitor.try_door(door).status for visitor in others]
        taken = dana.try_door(door).status
        # To a page a key is nobody, who is asked to sign in.
        expected = [403, 403, 302 if door.is_page else 403]
        return None if refused == expected and taken not in REFUSED else (refused, taken)

    assert faults([door for door in DOORS if door.needs is Need.PLATFORM_ADMIN], check) == []


def test_a_list_for_everybody_shows_charlie_nothing_of_films(stage: Stage) -> None:
    charlie = stage.visitor("charlie")

    def check(door: Door) -> object:
        answer = charlie.try_door(door)
        return None if answer.status == 200 and "books" in answer.text and "films" not in answer.text else answer

    assert faults([door for door in DOORS if door.needs is Need.SOMEBODY], check) == []


def test_what_is_about_oneself_tells_charlie_of_nobody_else(stage: Stage) -> None:
    charlie = stage.visitor("charlie")

    def check(door: Door) -> object:
        answer = charlie.try_door(door)
        # There is no session of the table's name, whoever asks.
        expected = (404,) if door.argument_names else (200, 302)
        others = [name for name in ("films", "alice") if name in answer.text]
        return None if answer.status in expected and not others and not answer.asks_to_sign_in else answer

    assert faults([door for door in DOORS if door.needs is Need.ONESELF], check) == []


def test_neither_keys_nor_sessions_open_what_is_internal(stage: Stage) -> None:
    visitors = [stage.visitor("dana"), stage.key(stage.films, "manage")]

    def check(door: Door) -> object:
        statuses = [visitor.try_door(door).status for visitor in visitors]
        return None if statuses == [401, 401] else statuses

    assert faults([door for door in DOORS if door.needs is Need.INTERNAL], check) == []


def test_there_is_nothing_behind_a_path_that_does_not_exist(stage: Stage) -> None:
    visitors = [stage.visitor("alice"), stage.visitor("dana")]

    def check(door: Door) -> object:
        statuses = [visitor.send(door.method, "/api/v1/nothing/here", door).status for visitor in visitors]
        return None if statuses == [404, 404] else statuses

    assert faults([door for door in DOORS if door.needs is Need.NOWHERE], check) == []
