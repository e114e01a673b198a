"""Where an alert may be posted to: only hosts that the platform's operator has named.

A service's spec is written by a tenant, and the platform calls what it says from inside the operator's network. So the
host is not checked for looking harmless; it must stand in RECALL_WEBHOOK_HOSTS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

URL_CHARACTERS_MAX = 2_000
# Strict on purpose: what two parsers could read differently (user names, backslashes, fragments) is no URL here.
URL_PATTERN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?",
    re.ASCII,
)
DEFAULT_PORTS = {"http": 80, "https": 443}
SETTING = "RECALL_WEBHOOK_HOSTS"


def check_form(url: str) -> str:
    """`url` as it is. Raises ValueError, for people, when it is no URL that a webhook may have."""
    found = URL_PATTERN.fullmatch(url)
    if found is None or len(url) > URL_CHARACTERS_MAX or not _has_port(url):
        raise ValueError(
            f"A webhook is https://host/path or https://host:port/path, at most {URL_CHARACTERS_MAX:,} characters, "
            "without a user name or a fragment."
        )
    if found["scheme"] == "http" and not _is_loopback(found["host"]):
        raise ValueError("Write https: http is for a receiver on the platform's own machine only.")
    return url


def check_allowed(url: str, hosts: Sequence[str]) -> None:
    """Raises ValueError, for people, unless one of `hosts` (`name`, or `name:port`) is the host of `url`.

    An entry without a port allows the scheme's own port only.
    """
    found = URL_PATTERN.fullmatch(check_form(url))
    assert found is not None  # noqa: S101 - check_form has seen to it
    host, default = found["host"].lower(), DEFAULT_PORTS[found["scheme"]]
    port = int(found["port"] or default)
    allowed = {each.lower() for each in hosts}
    if f"{host}:{port}" in allowed or (port == default and host in allowed):
        return
    named = host if port == default else f"{host}:{port}"
    raise ValueError(
        f"{named} is not among the hosts that this platform may call. Ask a platform administrator to add it to "
        f"{SETTING}."
    )


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:  # Above 65535, or no IPv6 address between the brackets.
        return False


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
