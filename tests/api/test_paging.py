"""Lists in pages."""

from __future__ import annotations

import base64
import json

import pytest

from tenants.models import Tenant
from tests.api.conftest import Caller
from tests.factories import make_service


@pytest.fixture
def five_services(films: Tenant) -> list[str]:
    names = ["anime", "docs", "movies", "series", "shorts"]
    for name in reversed(names):
        make_service(films, name)
    return names


def pages(caller: Caller, size: int) -> list[list[str]]:
    found, token = [], ""
    while True:
        body = caller.get(f"/tenants/films/services?page_size={size}&page_token={token}").body
        found.append([service["name"] for service in body["services"]])
        token = body["next_page_token"]
        if not token:
            return found


def test_the_pages_hold_everything_once_and_in_order(machine: Caller, five_services: list[str]) -> None:
    assert pages(machine, 2) == [five_services[:2], five_services[2:4], five_services[4:]]
    assert pages(machine, 5) == [five_services]


def test_a_row_that_comes_between_two_pages_shifts_nothing(
    machine: Caller, films: Tenant, five_services: list[str]
) -> None:
    first = machine.get("/tenants/films/services?page_size=3").body
    make_service(films, "aaa")
    rest = machine.get(f"/tenants/films/services?page_size=3&page_token={first['next_page_token']}").body
    assert [service["name"] for service in rest["services"]] == five_services[3:]


def test_newest_first_lists_page_backwards(machine: Caller, films: Tenant) -> None:
    for number in range(3):
        machine.post("/tenants/films/keys", {"scope": "read", "name": f"key {number}"})
    first = machine.get("/tenants/films/keys?page_size=2").body
    rest = machine.get(f"/tenants/films/keys?page_size=2&page_token={first['next_page_token']}").body
    assert [key["name"] for key in first["keys"] + rest["keys"]] == ["key 2", "key 1", "key 0", ""]


def test_the_audit_trail_pages_too(machine: Caller, five_services: list[str]) -> None:
    first = machine.get("/tenants/films/audit?page_size=4").body
    rest = machine.get(f"/tenants/films/audit?page_size=100&page_token={first['next_page_token']}").body
    events = first["events"] + rest["events"]
    created = [event["target"] for event in events if event["verb"] == "service.create"]
    assert created == five_services
    assert len({json.dumps(event) for event in events}) == len(events)


def test_a_larger_page_than_the_largest_is_the_largest(machine: Caller, five_services: list[str]) -> None:
    assert len(machine.get("/tenants/films/services?page_size=1000000").body["services"]) == 5


@pytest.mark.parametrize("size", ["0", "-1", "two", "1.5", "%00", "٣"])
def test_it_refuses_a_page_size_that_cannot_be_right(machine: Caller, size: str) -> None:
    answer = machine.get(f"/tenants/films/services?page_size={size}")
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "page_size")


def token_of(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "!",
        "bm90aGluZw",
        "%00",
        "a" * 10_000,
        token_of(["id", 1]),
        token_of(["name", 1]),
        token_of(["name", "\x00"]),
        token_of(["name"]),
        token_of({"name": "a"}),
        token_of(None),
    ],
)
def test_it_refuses_a_page_token_of_its_own_making(machine: Caller, token: str) -> None:
    answer = machine.get(f"/tenants/films/services?page_token={token}")
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "page_token")


@pytest.mark.parametrize("value", [-1, 2**63, True, 1.5])
def test_it_refuses_a_place_that_no_row_can_have(machine: Caller, value: object) -> None:
    answer = machine.get(f"/tenants/films/keys?page_token={token_of(['id', value])}")
    assert (answer.status, answer.error["details"][0]["field"]) == (400, "page_token")
