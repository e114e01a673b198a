"""Every door of the control plane: which URL, which method, and what it takes to go through.

tests/api/test_every_url_is_closed.py walks the URLconf and fails on a route or a method that is not here. A new route
gets one line per method: `Door(route, method, needs, body)`. The route is written as in the URLconf, from the root; its
arguments are filled from ARGUMENTS, which name Alice's objects. Pages stand in page_table.py beside this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tenants.permissions import Permission


class Need(StrEnum):
    """What it takes beyond the permissions of a tenant."""

    # Anybody may, signed in or not.
    NOTHING = "nothing"
    # A key or a session, of whatever tenant.
    SOMEBODY = "somebody"
    # The same, and it is about whoever asks: nobody else's is reached by it.
    ONESELF = "oneself"
    # A platform administrator; the URL names no tenant.
    PLATFORM_ADMIN = "platform_admin"
    # The platform's own token.
    INTERNAL = "internal"
    # There is nothing behind it, whoever asks.
    NOWHERE = "nowhere"


# What the arguments of a route are filled with: Alice's objects.
ARGUMENTS: dict[str, Any] = {
    "tenant": "films",
    "service": "movies",
    "number": 1,
    "other": 2,
    "username": "bob",
    # The fixture `prefixes` of the test replaces these.
    "prefix": "alices",
    "draft": "draft-of-alice",
    # Nobody's; whose a session is, tests/accounts/test_sessions.py tries.
    "session": "0123456789abcdef01234567",
}
# The same, of nobody.
UNKNOWN: dict[str, Any] = {
    "tenant": "nobody",
    "service": "nothing",
    "number": 999_999,
    "other": 999_998,
    "username": "nobody",
    "prefix": "unknown1",
    "draft": "draft-of-nobody",
}
# The same, of Charlie, who is of another tenant. His service has a build and a version of this number, Alice's has not.
FOREIGN: dict[str, Any] = {
    "tenant": "books",
    "service": "novels",
    "number": 222_222,
    "other": 222_223,
    "username": "charlie",
    "prefix": "charlies",
    "draft": "draft-of-charlie",
}

ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True)
class Door:
    """One method of one route. `body` is JSON for the API and form fields for a page."""

    route: str
    method: str
    needs: Permission | Need
    body: dict[str, Any] | None = None
    is_page: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} /{self.route}"

    @property
    def argument_names(self) -> list[str]:
        return ARGUMENT.findall(self.route)

    def url(self, **arguments: Any) -> str:
        """The path for Alice's objects, or with some arguments replaced."""
        values = {**ARGUMENTS, **self.arguments, **arguments}
        return "/" + ARGUMENT.sub(lambda found: str(values[found[1]]), self.route)


def door(route: str, method: str, needs: Permission | Need, body: dict[str, Any] | None = None) -> Door:
    return Door(f"api/v1/{route}", method, needs, body)


TENANT = "tenants/<name:tenant>"
SERVICE = f"{TENANT}/services/<name:service>"
BUILD = f"{SERVICE}/builds/<number:number>"
KEY = f"{TENANT}/keys/<name:prefix>"

VIEW, QUERY, BUILDING, OPERATE = Permission.VIEW, Permission.QUERY, Permission.BUILD, Permission.OPERATE
MANAGE, ADMIN = Permission.MANAGE, Permission.ADMIN

SPEC = {"name": "series", "schema": {"dimension": 4}, "source": {"uri": "file:series/"}, "engine": "flat"}
VECTORS = {"vectors": [[1, 0, 0, 0]], "top_k": 3}

API_DOORS = (
    door("tenants", "GET", Need.SOMEBODY),
    door("tenants", "POST", Need.PLATFORM_ADMIN, {"name": "games"}),
    door(TENANT, "GET", VIEW),
    door(TENANT, "PATCH", MANAGE, {"title": "Films"}),
    door(TENANT, "DELETE", ADMIN),
    door(f"{TENANT}/quota", "GET", VIEW),
    door(f"{TENANT}/quota", "PATCH", ADMIN, {"services_max": 3}),
    door(f"{TENANT}/members", "GET", VIEW),
    door(f"{TENANT}/members", "POST", MANAGE, {"username": "erin", "role": "viewer"}),
    door(f"{TENANT}/members/<username:username>", "PATCH", MANAGE, {"role": "viewer"}),
    door(f"{TENANT}/members/<username:username>", "DELETE", MANAGE),
    door(f"{TENANT}/keys", "GET", VIEW),
    door(f"{TENANT}/keys", "POST", MANAGE, {"scope": "read"}),
    door(f"{KEY}:revoke", "POST", MANAGE),
    door(f"{KEY}:rotate", "POST", MANAGE),
    door(f"{TENANT}/audit", "GET", VIEW),
    door(f"{TENANT}/alerts", "GET", VIEW),
    door(f"{TENANT}/alerts/<number:number>:acknowledge", "POST", OPERATE),
    door(f"{TENANT}/webhookSecret", "GET", MANAGE),
    door(f"{TENANT}/webhookSecret:rotate", "POST", MANAGE),
    door(f"{TENANT}/sources:inspect", "POST", BUILDING, {"uri": "file:movies/"}),
    door(f"{TENANT}/services", "GET", VIEW),
    door(f"{TENANT}/services", "POST", MANAGE, SPEC),
    door(f"{TENANT}/services:estimate", "POST", BUILDING, {"spec": SPEC, "items": 1000}),
    door(SERVICE, "GET", VIEW),
    door(SERVICE, "PATCH", MANAGE, {"limits": {"qps": 5}}),
    door(SERVICE, "DELETE", MANAGE),
    door(f"{SERVICE}:build", "POST", BUILDING, {"drop": "2026-11-21"}),
    door(f"{SERVICE}:rollback", "POST", OPERATE, {"reason": "bad"}),
    door(f"{SERVICE}:activate", "POST", OPERATE, {"version": 1}),
    door(f"{SERVICE}:clear", "POST", OPERATE, {"reason": "a legal order"}),
    door(f"{SERVICE}:hold", "POST", OPERATE, {"reason": "a holiday"}),
    door(f"{SERVICE}:release", "POST", OPERATE),
    door(f"{SERVICE}:recall", "POST", QUERY, VECTORS),
    door(f"{SERVICE}:batchRecall", "POST", QUERY, {"requests": [VECTORS]}),
    door(f"{SERVICE}:count", "POST", QUERY),
    door(f"{SERVICE}/builds", "GET", VIEW),
    door(BUILD, "GET", VIEW),
    door(f"{BUILD}:cancel", "POST", BUILDING),
    door(f"{BUILD}:retry", "POST", BUILDING),
    door(f"{BUILD}:override", "POST", OPERATE, {"reason": "known"}),
    door(f"{SERVICE}/versions", "GET", VIEW),
    door(f"{SERVICE}/versions/<number:number>", "GET", VIEW),
    door(f"{SERVICE}/versions/<number:number>:compare", "GET", VIEW),
    door(f"{SERVICE}/replicas", "GET", VIEW),
    door(f"{SERVICE}/metrics", "GET", VIEW),
    door(f"{SERVICE}/audit", "GET", VIEW),
    door("nodes", "GET", Need.PLATFORM_ADMIN),
    door("health", "GET", Need.NOTHING),
    door("discovery/<name:tenant>/<name:service>", "GET", VIEW),
    door("schema", "GET", Need.NOTHING),
    door("docs", "GET", Need.NOTHING),
    *(door("^.*$", method, Need.NOWHERE) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),
)

INTERNAL_DOORS = (Door("internal/revocations", "GET", Need.INTERNAL),)
