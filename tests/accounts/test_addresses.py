"""Where a request comes from, whatever is sent."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from common.addresses import client_address, counted_address


def address(remote: str, forwarded: str | None = None) -> str:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    return client_address(RequestFactory().get("/", REMOTE_ADDR=remote, headers=headers))


@pytest.mark.parametrize(
    ("proxies", "forwarded", "found"),
    [
        (0, "203.0.113.9", "10.0.0.1"),
        (1, None, "10.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        (2, "1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        # By fewer proxies than there are: what came is not from ours.
        (2, "203.0.113.9", "10.0.0.1"),
        (1, "203.0.113.9:4711", "203.0.113.9"),
        (1, "[2001:db8::9]:4711", "2001:db8::9"),
        (1, "2001:DB8:0::9", "2001:db8::9"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "unknown", "10.0.0.1"),
        (1, "203.0.113.9\x00, '; DROP TABLE", "10.0.0.1"),
        (1, "", "10.0.0.1"),
        (1, ",", "10.0.0.1"),
    ],
)
def test_the_outermost_proxy_of_ours_is_believed_and_nobody_else(
    settings: Any, proxies: int, forwarded: str | None, found: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    assert address("10.0.0.1", forwarded) == found


def test_a_unix_socket_has_no_address() -> None:
    assert address("") == ""


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", None),
        ("host", None),
    ],
)
def test_an_ipv6_address_counts_with_its_network(text: str, counted: str | None) -> None:
    assert counted_address(text) == counted
