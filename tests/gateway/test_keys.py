"""Who is let in: API keys and internal tokens, through the routes and the control plane's list of revocations."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from documents.store import Stamp
from gateway.auth import PROVED_MAX, Auth
from gateway.errors import Unauthenticated
from gateway.routes import Route, parse_route
from tests.gateway.harness import (
    ALICES_KEY,
    FILMS,
    INTERNAL_TOKEN,
    PEPPER,
    Caller,
    Harness,
    Refused,
    key,
    query,
    refusal,
    route,
    route_version,
)
from tests.support.exact_replica import ExactReplica


def token(secret: bytes = INTERNAL_TOKEN, **changes: Any) -> str:
    claims = {"t": "films", "s": "", "scope": "read", "exp": int(time.time()) + 60, "by": "alice"} | changes
    body = "rt_" + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    signature = hmac.digest(secret, body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def made_route(*keys: Any) -> Route:
    document = route(keys=keys)
    document.stamp.CopyFrom(Stamp(1, 1).to_message())
    return parse_route(document.SerializeToString())


STRANGERS = {
    "no key": "",
    "what is no key": "swordfish",
    "an unknown key": "rk_unknown0_" + "a" * 32,
    "a known prefix with another secret": "rk_alice000_" + "b" * 32,
    "a key cut short": ALICES_KEY[:-1],
    "a token signed by another": token(secret=b"guess"),
    "a token that has ended": token(exp=int(time.time()) - 1),
    "a token for no scope": token(scope="everything"),
    "a token without a tenant": token(t=None),
    "a token cut short": token()[:-2],
    "a token of nonsense": "rt_%%%.%%%",
}


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_it_lets_no_stranger_in_and_says_the_same_to_each(films: Harness, stranger: str) -> None:
    refused = await refusal(films.caller(STRANGERS[stranger]).recall())
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")
    nobody = await refusal(films.caller("").recall())
    assert refused.raw_status == nobody.raw_status


async def test_a_stranger_learns_nothing_of_what_is_wrong_with_the_request(films: Harness) -> None:
    assert (await refusal(films.caller("").recall(query("nonsense", top_k=0)))).reason == "KEY_INVALID"


async def test_an_internal_token_is_let_in(films: Harness) -> None:
    assert (await films.caller(token()).recall()).version == 1
    assert (await films.caller(token(s="movies")).recall()).version == 1


async def test_a_token_opens_only_what_it_names(films: Harness) -> None:
    for claims in ({"t": "books"}, {"s": "series"}):
        refused = await refusal(films.caller(token(**claims)).recall())
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_an_expired_key_is_refused_even_if_it_was_let_in_before(harness: Harness, replica: ExactReplica) -> None:
    ends_at = int(time.time()) + 2
    harness.publish(route(route_version(1, replica.address), keys=(key(ALICES_KEY, expires_at=ends_at),)))
    await harness.start()
    alice = harness.caller()
    assert (await alice.recall()).version == 1
    await asyncio.sleep(ends_at + 0.05 - time.time())
    assert (await refusal(alice.recall())).reason == "KEY_INVALID"


async def test_a_key_that_left_the_routes_is_refused_at_once(films: Harness, replica: ExactReplica) -> None:
    alice = films.caller()
    assert (await alice.recall()).version == 1
    films.publish(route(route_version(1, replica.address), keys=()))
    assert films.gateway
    await films.until(lambda: films.gateway and films.gateway.routes.stamp_of("films/movies") == Stamp(1, 2))
    assert (await refusal(alice.recall())).reason == "KEY_INVALID"


class ControlPlane:
    """A real HTTP server that says which keys are revoked."""

    def __init__(self) -> None:
        self.revoked: list[str] = []
        self.headers: list[str] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.headers.append(head)
        body = json.dumps({"revoked_prefixes": self.revoked}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


@pytest.fixture
async def control_plane() -> AsyncIterator[ControlPlane]:
    control_plane = ControlPlane()
    server = await asyncio.start_server(control_plane.answer, "127.0.0.1", 0)
    control_plane.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield control_plane
    server.close()
    await server.wait_closed()


async def test_a_revoked_key_dies_within_seconds_without_redis(
    harness: Harness, replica: ExactReplica, control_plane: ControlPlane
) -> None:
    await harness.start(console_url=control_plane.url)
    alice = harness.caller()
    assert (await alice.recall()).version == 1
    harness.valkey.freeze()
    try:
        control_plane.revoked = ["alice000"]
        revoked_at = time.monotonic()
        while await _is_let_in(alice):
            assert time.monotonic() - revoked_at < 5.0, "a revoked key lived for 5 seconds"
            await asyncio.sleep(0.02)
    finally:
        harness.valkey.thaw()
    assert f"x-recall-internal: {INTERNAL_TOKEN.decode()}" in control_plane.headers[0].lower()
    assert "/internal/revocations" in control_plane.headers[0]


async def _is_let_in(alice: Caller) -> bool:
    try:
        await alice.recall()
    except Refused as refused:
        if refused.code is not grpc.StatusCode.UNAUTHENTICATED:
            raise
        return False
    return True


async def test_a_revocation_outlives_a_restart(
    harness: Harness, replica: ExactReplica, control_plane: ControlPlane
) -> None:
    control_plane.revoked = ["alice000"]
    await harness.start(console_url=control_plane.url)
    await harness.until(lambda: harness.gateway and harness.gateway.auth.revoked)
    await harness.stop()
    await harness.start()
    assert (await refusal(harness.caller().recall())).reason == "KEY_INVALID"


def test_a_revoked_prefix_that_left_the_list_stays_revoked_while_a_route_names_it() -> None:
    auth = Auth(PEPPER, INTERNAL_TOKEN)
    auth.follow(None, made_route(key(ALICES_KEY)))
    auth.revoke(["alice000", "gone0000"])
    auth.revoke([])
    assert auth.revoked == {"alice000"}
    with pytest.raises(Unauthenticated):
        auth.authenticate(f"Bearer {ALICES_KEY}")


def test_while_routes_differ_about_a_key_the_earlier_end_counts() -> None:
    auth = Auth(PEPPER, INTERNAL_TOKEN)
    one, other = route(keys=(key(ALICES_KEY),)), route(keys=(key(ALICES_KEY, expires_at=5),), name=f"{FILMS}-two")
    for document in (one, other):
        auth.follow(None, parse_route(document.SerializeToString()))
    with pytest.raises(Unauthenticated):
        auth.authenticate(f"Bearer {ALICES_KEY}")


def test_two_keys_may_share_a_prefix() -> None:
    auth = Auth(PEPPER, INTERNAL_TOKEN)
    twin = "rk_alice000_" + "t" * 32
    auth.follow(None, made_route(key(ALICES_KEY), key(twin, scope="write")))
    assert auth.authenticate(f"Bearer {ALICES_KEY}").scope == "read"
    assert auth.authenticate(f"bearer {twin}").scope == "write"


def test_proofs_are_remembered_up_to_a_limit_and_strangers_never() -> None:
    auth = Auth(PEPPER, INTERNAL_TOKEN)
    auth.follow(None, made_route(key(ALICES_KEY)))
    for number in range(100):
        with pytest.raises(Unauthenticated):
            auth.authenticate(f"Bearer rk_guess000_{number}")
    assert len(auth._proved) == 0
    for spaces in range(min(PROVED_MAX, 50)):
        auth.authenticate(f"Bearer {' ' * spaces}{ALICES_KEY}")
    assert len(auth._proved) == 50
