"""Who calls: an API key or an internal token becomes a Caller, without any I/O.

A key is looked up by its public prefix among the keys of all routes, and proved by HMAC-SHA256 under the
platform's pepper. Proved keys are remembered until any route's keys or the revocations change.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.errors import PermissionDenied, Unauthenticated
from gateway.routes import Key, Route

SCHEME = "bearer "
KEY_START = "rk_"
INTERNAL_START = "rt_"
PREFIX_CHARACTERS = 8
HEADER_CHARACTERS_MAX = 2_048
PROVED_MAX = 10_000
# Each scope includes those before it.
SCOPES = ("read", "write", "manage")
NEVER = float("inf")
# Of an internal token: tenant, service (empty: all), scope, end in Unix seconds.
CLAIMS: dict[str, Any] = {"t": str, "s": str, "scope": str, "exp": int | float}


@dataclass(frozen=True, slots=True)
class Caller:
    """A proved identity. An empty `service` stands for every service of the tenant.

    `key`: the public prefix of the key; empty for an internal token.
    """

    tenant: str
    service: str
    scope: str
    expires_at: float
    key: str = ""

    def may(self, scope: str, route: Route | None) -> bool:
        """Whether this caller may do what needs `scope` on the service; False for one that does not exist."""
        return (
            route is not None
            and route.tenant == self.tenant
            and self.service in ("", route.service)
            and SCOPES.index(scope) <= SCOPES.index(self.scope)
        )


class Auth:
    """Belongs to the event loop's thread; follows the routes."""

    def __init__(self, pepper: bytes, internal_token: bytes) -> None:
        self._pepper = pepper
        self._internal_token = internal_token
        # By prefix, then by route and digest: a key stands in each route of its tenant, and prefixes may be shared.
        self._keys: dict[str, dict[tuple[str, bytes], tuple[str, Key]]] = {}
        self._proved: dict[str, Caller] = {}
        self.revoked: frozenset[str] = frozenset()

    def authenticate(self, header: str) -> Caller:
        """The caller behind `Bearer <key>`. Raises Unauthenticated."""
        caller = self._proved.get(header)
        if caller is None:
            caller = self._prove(header)
            if len(self._proved) >= PROVED_MAX:
                self._proved.clear()
            self._proved[header] = caller
        if caller.expires_at <= time.time():
            raise Unauthenticated
        return caller

    def follow(self, old: Route | None, new: Route) -> None:
        """Replaces the keys of one route."""
        if old and old.keys == new.keys:
            return
        for key in old.keys if old else ():
            self._keys[key.prefix].pop((new.field, key.digest), None)
        for key in new.keys:
            self._keys.setdefault(key.prefix, {})[new.field, key.digest] = (new.tenant, key)
        for prefix in {key.prefix for key in old.keys} if old else ():
            if not self._keys[prefix]:
                del self._keys[prefix]
        self._proved.clear()

    def revoke(self, prefixes: Iterable[str]) -> bool:
        """Takes the newest list of revocations; one that routes still name stays revoked even if it left the list.

        True when something changed.
        """
        revoked = frozenset(prefixes) | {prefix for prefix in self.revoked if prefix in self._keys}
        if revoked == self.revoked:
            return False
        self.revoked = revoked
        self._proved.clear()
        return True

    def _prove(self, header: str) -> Caller:
        if len(header) > HEADER_CHARACTERS_MAX or header[: len(SCHEME)].lower() != SCHEME:
            raise Unauthenticated
        credential = header[len(SCHEME) :].strip()
        if credential.startswith(INTERNAL_START):
            return self._prove_token(credential)
        return self._prove_key(credential)

    def _prove_key(self, key: str) -> Caller:
        # The digest is made for unknown prefixes too, so that time tells nothing about which prefixes exist.
        digest = hmac.digest(self._pepper, key.encode(), hashlib.sha256)
        prefix = key[len(KEY_START) :][:PREFIX_CHARACTERS]
        holders = self._keys.get(prefix, {}).values()
        matches = [(tenant, held) for tenant, held in holders if hmac.compare_digest(held.digest, digest)]
        if not matches or prefix in self.revoked or not key.startswith(KEY_START):
            raise Unauthenticated
        return _caller(matches)

    def _prove_token(self, token: str) -> Caller:
        body, _, signature = token.partition(".")
        expected = hmac.digest(self._internal_token, body.encode(), hashlib.sha256)
        if not hmac.compare_digest(_unbase64(signature), expected):
            raise Unauthenticated
        claims = _claims(body[len(INTERNAL_START) :])
        return Caller(claims["t"], claims["s"], claims["scope"], float(claims["exp"]))


def _caller(matches: list[tuple[str, Key]]) -> Caller:
    """One key stands in several routes; while they differ (a rotation under way) the earliest end counts."""
    tenant, key = matches[0]
    if key.scope not in SCOPES:
        raise PermissionDenied
    expires_at = min(held.expires_at_seconds or NEVER for _, held in matches)
    return Caller(tenant, key.service, key.scope, expires_at, key.prefix)


def _claims(text: str) -> dict[str, Any]:
    """The signed claims; ill-formed ones are the signer's fault and prove nothing."""
    try:
        claims = json.loads(_unbase64(text))
    except ValueError as error:
        raise Unauthenticated from error
    if not isinstance(claims, dict) or not all(isinstance(claims.get(name), kind) for name, kind in CLAIMS.items()):
        raise Unauthenticated
    if claims["scope"] not in SCOPES:
        raise Unauthenticated
    return claims


def _unbase64(text: str) -> bytes:
    """With or without padding; empty when it is not base64url."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
