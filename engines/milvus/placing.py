"""At which instance a build is made: while an index is built, the searches of its instance wait for the CPU."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from engines.errors import IndexUnreadable, ParamsInvalid
from engines.milvus.instances import Address, configured, lacks
from engines.milvus.reference import references_in

# Once for each instance that does not answer, the look for its name aside.
CONNECT_SECONDS_MAX: Final = 1.0


def nobody_refuses(_address: Address) -> bool:
    """Who only asks where an index would be made knocks nowhere."""
    return False


def building_instance(
    beside: Sequence[str],
    together: Sequence[str] = (),
    own: Sequence[str] = (),
    *,
    refuses: Callable[[Address], bool] = nobody_refuses,
) -> str:
    """Where something of `together` is made; else the one that serves nothing of `beside`, else what is least needed of
    it. Of equals the first one configured.

    One that `refuses` is passed over, but not for that of `own`: the callers there would notice a build which this one
    only fails. Where nobody else answers either, it is chosen, and says what is wrong.

    Raises ParamsInvalid when none is configured.
    """
    if lack := lacks():
        raise ParamsInvalid(lack, field="engine")
    joined, spared = _instances(together), _instances(own)
    foremost: dict[str, int] = {}
    for place, folder in enumerate(beside):
        for name in instances_of(Path(folder)):
            foremost.setdefault(name, place)
    addresses = configured()
    first, *others = sorted(addresses, key=lambda name: (name not in joined, -foremost.get(name, len(beside))))
    ordered = [first, *(name for name in others if name not in spared)]
    return next((name for name in ordered if not refuses(addresses[name])), first)


def refuses_connections(address: Address) -> bool:
    """Whether nobody takes a connection there just now. A hint and no promise: who takes it may answer nothing, and may
    be gone a moment later."""
    try:
        with socket.create_connection(address.endpoint, CONNECT_SECONDS_MAX):
            return False
    except OSError:
        return True


def _instances(folders: Sequence[str]) -> set[str]:
    return {name for folder in folders for name in instances_of(Path(folder))}


def instances_of(index_dir: Path) -> set[str]:
    """Empty when the folder cannot be read: what serves has been read before, and a build is not refused for this."""
    try:
        return {each.instance for each in references_in(index_dir)}
    except IndexUnreadable:
        return set()
