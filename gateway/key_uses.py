"""Which keys call which services, noted on the way of a request and told to the control plane span by span.

The console says of a key when it was last used and from where, so that nobody revokes one that carries traffic.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import unquote

from documents.key_uses import KeyUse

# Pairs of a key and a service in one span; what is beyond is noted in a later one.
USES_MAX = 10_000
ADDRESS_CHARACTERS_MAX = 64


class KeyUses:
    """The first call of each key and service in a span stands for all of them. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], KeyUse] = {}

    def note(self, prefix: str, service: str, peer: Callable[[], str]) -> None:
        """A call of `service` (a resolved route's name) with this key; `peer` is asked only when it is the first."""
        if (prefix, service) in self._uses or len(self._uses) >= USES_MAX:
            return
        self._uses[prefix, service] = KeyUse(prefix, service, time.time(), address_of(peer()))

    def take(self) -> list[KeyUse]:
        """What was noted since the last time."""
        uses, self._uses = self._uses, {}
        return list(uses.values())

    def put_back(self, uses: list[KeyUse]) -> None:
        """What could not be told is told with the next span, unless there is news of the same."""
        self._uses = {(use.prefix, use.service): use for use in uses[:USES_MAX]} | self._uses


def address_of(peer: str) -> str:
    """gRPC's name of a peer without its port: `ipv4:10.0.0.7:52110` -> `10.0.0.7`, `ipv6:%5B::1%5D:52110` -> `::1`."""
    kind, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else kind
    return host[:ADDRESS_CHARACTERS_MAX]
