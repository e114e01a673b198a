"""Where a request comes from, as far as it can be known.

Behind proxies of our own it is what the outermost of them saw: each adds an address to the right of X-Forwarded-For,
and whatever stands further left came from outside and may be forged. How many there are, RECALL_TRUSTED_PROXIES says.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

FORWARDED = "HTTP_X_FORWARDED_FOR"
# 192.0.2.1:443 and [2001:db8::1]:443, as some proxies write them.
WITH_PORT = re.compile(r"^(?:\[(?P<long>[^\]]+)\]|(?P<short>[^:]+))(?::\d+)?$")
# A household or a machine has so many bits of an IPv6 address to itself.
NETWORK_BITS = 64


def client_address(request: HttpRequest) -> str:
    """The caller's address; empty when there is none, as on a Unix socket."""
    found = _parsed(_told(request)) or _parsed(request.META.get("REMOTE_ADDR", ""))
    return str(found) if found else ""


def sign_in_address(request: HttpRequest) -> str | None:
    """What wrong passwords are counted by: the address, or the network that one IPv6 caller has to choose from."""
    return counted_address(client_address(request))


def counted_address(text: str) -> str | None:
    """The same of an address in words; None when it is none."""
    found = _parsed(text)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, NETWORK_BITS), strict=False).network_address)
    return str(found) if found else None


def _told(request: HttpRequest) -> str:
    """What the outermost proxy of ours saw; empty without one, or when the request passed by fewer than there are."""
    proxies = settings.TRUSTED_PROXIES
    told = request.META.get(FORWARDED, "").split(",")
    return told[-proxies].strip() if 0 < proxies <= len(told) else ""


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """None for what is no address, and an IPv4 address for one that an IPv6 socket wrapped."""
    bare = WITH_PORT.match(text)
    try:
        found = ip_address((bare["long"] or bare["short"]) if bare else text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
